"""The CA that signs MSR's certificate: fetched or given, checked against MSR's own chain, then remembered.

The manual page's `curl -sk https://<msr-url>/ca` trusts whoever answers. Here what answers must be one CA certificate,
and MSR's own TLS must verify with it and with MSR's host name, before the cache is made to trust it.
"""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.x509 import pem

if TYPE_CHECKING:
    from cryptography import x509

    from msr_cache.config.settings import Msr

TIMEOUT = 10
"""Seconds until an MSR that does not answer is said to be unreachable."""
LARGEST = 1 << 16
"""Bytes: no CA certificate is larger."""
REMEMBERED = ("pem", "sha256", "subject", "expires", "offered")
Pins = list[str] | str | None
"""SHA-256 of certificates, or `sha256:` and that of their public keys; states hold one alone as a string."""


def fetch(url: str) -> str:
    """GET `<url>/ca` as the manual page does; what comes back is not to be trusted before `verify`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"{url}/ca", timeout=TIMEOUT, context=context) as answer:  # noqa: S310 - https only
            return str(answer.read(LARGEST).decode("ascii", errors="replace"))
    except urllib.error.HTTPError as error:
        answered = f"{url}/ca answered {error.code} {error.reason}"
        message = f"msr-cache:msr.url: {answered}; is that MSR? Else give its CA as msr.ca.pem"
        raise Refusal(message) from None
    except (OSError, HTTPException) as error:
        raise Refusal(_unreachable(url, error)) from None


def _unreachable(url: str, error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return f"msr-cache:msr.url: MSR at {url} can't be reached from here: {reason}. See that it is up, and the firewall"


def verify(url: str, ca_pem: str) -> None:
    """Connect to MSR with trust in `ca_pem` alone; raise Refusal where its chain or host name does not fit."""
    address = urlsplit(url)
    host = address.hostname or ""
    try:
        context = ssl.create_default_context(cadata=ca_pem)
        with (
            socket.create_connection((host, address.port or 443), timeout=TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            pass
    except ssl.SSLCertVerificationError as error:
        message = (
            f"msr-cache:msr.ca: MSR's own certificate at {url} does not verify with this CA: {error.verify_message}. "
            "Somebody between here and MSR may have answered, or MSR's certificate is not signed by its /ca: "
            "give the right CA as msr.ca.pem"
        )
        raise Refusal(message) from None
    except OSError as error:
        raise Refusal(_unreachable(url, error)) from None


def trusted(url: str, text: str, pins: Pins) -> Props:
    """Return what is known of MSR's CA, given or fetched, after every check; raise Refusal at the first that fails."""
    if problem := pem.ca_problem(text):
        message = f"msr-cache:msr.ca: the CA of {url}: {problem}"
        raise Refusal(message)
    certificates = pem.certificates(text)
    pins = _listed(pins)
    if pins and (strangers := [certificate for certificate in certificates if not _covered(certificate, pins)]):
        # Each must be: one right certificate beside another CA's is how a man in the middle stays.
        message = (
            f"msr-cache:msr.ca.sha256: found {' and '.join(map(seen, strangers))} at {url}/ca, "
            f"allowed is {' or '.join(pins)}. If MSR's CA was rotated, set the new pin; if not, somebody between here "
            "and MSR answers in its place"
        )
        raise Refusal(message)
    verify(url, text)
    return {
        "pem": pem.text(*certificates),
        "sha256": ", ".join(map(pem.sha256, certificates)),
        "subject": " and ".join(map(pem.name, certificates)),
        "expires": min(certificate.not_valid_after_utc for certificate in certificates).isoformat(),
    }


def _covered(certificate: x509.Certificate, pins: Pins) -> bool:
    return bool({pem.sha256(certificate), pem.key_sha256(certificate)} & set(_listed(pins)))


def _listed(pins: Pins) -> list[str]:
    return [pins] if isinstance(pins, str) else pins or []


def seen(certificate: x509.Certificate) -> str:
    """Name a certificate by all that tells it from others."""
    return f"{pem.name(certificate)} (SHA-256 {pem.sha256(certificate)}, of its key {pem.key_sha256(certificate)})"


def certificates_of(text: str, url: str) -> list[x509.Certificate]:
    """Return what answered at `<url>/ca`, trusted by nobody yet."""
    try:
        return pem.certificates(text)
    except ValueError as error:
        message = f"msr-cache:msr.url: {url}/ca: {error}"
        raise Refusal(message) from None


def fetched(url: str, pins: Pins) -> str:
    """Fetch what is to be trusted on first use, or by pins."""
    text = fetch(url)
    if not pins and (count := len(certificates_of(text, url))) > 1:
        # Whoever could add a CA of his own to MSR's would pass `verify` by MSR's.
        message = (
            f"msr-cache:msr.ca: {url}/ca: found {count} certificates, allowed is one, or each of them pinned by "
            "msr.ca.sha256"
        )
        raise Refusal(message)
    return text


class MsrCaProvider(SwarmProvider):
    """Fetches in `check`, which previews run too: the diff is real, and an MSR that is down is told before `up`."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep what is remembered, unless the operator now says something else of the CA, or of where MSR is."""
        taken_back = news.get("pin") is None and news.get("given") is None and unchanged(olds, news, "url")
        if taken_back or unchanged(olds, news, "url", "pin", "given"):
            return CheckResult({**{key: olds[key] for key in REMEMBERED if key in olds}, **news}, [])
        text = news.get("given") or fetched(news["url"], news.get("pin"))
        return CheckResult({**news, **trusted(news["url"], text, news.get("pin"))}, [])

    def create(self, props: Props) -> CreateResult:
        """Keep what `check` found."""
        return CreateResult("msr-ca", props)

    def read(self, id_: str, props: Props) -> ReadResult:
        """See a rotated CA, but trust it only where a pin says so.

        An MSR that can't be reached is an error, never a reason to forget its CA.
        """
        url, pins = props["url"], props.get("pin")
        certificates = certificates_of(props.get("given") or fetch(url), url)
        offered = ", ".join(map(pem.sha256, certificates))
        if offered == props["sha256"] or all(_covered(certificate, pins) for certificate in certificates):
            now = {**props, **trusted(url, pem.text(*certificates), pins), "offered": None}
        else:
            now = {**props, "offered": offered}
        return ReadResult(id_, now, {**now})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare certificates and how they came to be trusted."""
        return DiffResult(changes=not unchanged(olds, news, "url", "pin", "given", "pem"))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Keep what `check` found."""
        return UpdateResult(news)


class MsrCa(Tracked, module="msr", name="MsrCa"):
    """MSR's CA: `pem`, `sha256` (of the DER form), `subject` (RFC 4514) and `expires` (ISO 8601).

    `offered` is the SHA-256 of another CA that MSR showed at the last refresh, which is not trusted.
    """

    pem: pulumi.Output[str]
    sha256: pulumi.Output[str]
    subject: pulumi.Output[str]
    expires: pulumi.Output[str]
    offered: pulumi.Output[str | None]

    def __init__(self, name: str, msr: Msr, opts: pulumi.ResourceOptions | None = None) -> None:
        given = msr.ca if not isinstance(msr.ca, str) else None
        pins = (given.sha256 if given else None) or []
        props = {
            "url": msr.url,
            "pin": pins[0] if len(pins) == 1 else pins or None,
            "given": given.pem if given else None,
            **dict.fromkeys(REMEMBERED),
        }
        super().__init__(MsrCaProvider(), name, props, opts)
        pulumi.Output.all(self.sha256, self.offered).apply(lambda both: self._warn(msr.url, *both))

    @staticmethod
    def _warn(url: str, remembered: str, offered: str | None) -> None:
        if offered:
            pulumi.log.warn(
                f"msr-cache:msr.ca: MSR at {url} shows another CA, which is not trusted: remembered is SHA-256 "
                f"{remembered}, seen was {offered}. If its administrator says that it was rotated, set msr.ca.sha256 "
                "to what is seen; if not, somebody between here and MSR answers in its place"
            )
