"""The CA that signs MSR's certificate: fetched or given, checked against MSR's own chain, then remembered.

The manual page's `curl -sk https://<msr-url>/ca` trusts whoever answers. Here what answers must be one CA certificate,
and MSR's own TLS must verify with it and with MSR's host name, before the cache is made to trust it.
"""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from msr_cache import pem
from msr_cache.problems import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged

if TYPE_CHECKING:
    from msr_cache.settings import Msr

TIMEOUT = 10
"""Seconds until an MSR that does not answer is said to be unreachable."""
LARGEST = 1 << 16
"""Bytes: no CA certificate is larger."""


def fetch(url: str) -> str:
    """GET `<url>/ca` as the manual page does; what comes back is not to be trusted before `verify`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"{url}/ca", timeout=TIMEOUT, context=context) as answer:  # noqa: S310 - https only
            return str(answer.read(LARGEST).decode("ascii", errors="replace"))
    except urllib.error.HTTPError as error:
        message = f"{url}/ca answered {error.code} {error.reason}; is that MSR? Else give its CA as msr.ca.pem"
        raise Refusal(message) from None
    except OSError as error:
        raise Refusal(_unreachable(url, error)) from None


def _unreachable(url: str, error: OSError) -> str:
    reason = getattr(error, "reason", error)
    return f"MSR at {url} can't be reached from here: {reason}. Check msr.url, that MSR is up, and the firewall"


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
            f"MSR's own certificate at {url} does not verify with this CA: {error.verify_message}. "
            "Somebody between here and MSR may have answered, or MSR's certificate is not signed by its /ca: "
            "give the right CA as msr.ca.pem"
        )
        raise Refusal(message) from None
    except OSError as error:
        raise Refusal(_unreachable(url, error)) from None


def trusted(url: str, pin: str | None, given: str | None) -> Props:
    """Return what is known of MSR's CA after every check; raise Refusal at the first that fails."""
    text = (given or fetch(url)).strip() + "\n"
    if problem := pem.ca_problem(text):
        message = f"{'msr.ca.pem' if given else url + '/ca'}: {problem}"
        raise Refusal(message)
    certificate = pem.first_certificate(text)
    fingerprint = pem.sha256(certificate)
    if pin and pin != fingerprint:
        message = (
            f"msr.ca.sha256: found a CA with SHA-256 {fingerprint} at {url}/ca, allowed is {pin}. If MSR's CA was "
            "rotated, set the new pin; if not, somebody between here and MSR answers in its place"
        )
        raise Refusal(message)
    verify(url, text)
    return {
        "pem": text,
        "sha256": fingerprint,
        "subject": certificate.subject.rfc4514_string(),
        "expires": certificate.not_valid_after_utc.isoformat(),
    }


class MsrCaProvider(SwarmProvider):
    """Fetches in `check`, which previews run too: the diff is real, and an MSR that is down is told before `up`."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep what an earlier run trusted as long as url, pin and given text are the same."""
        if unchanged(olds, news, "url", "pin", "given"):
            return CheckResult({**olds, **news}, [])

        def look() -> None:
            news.update(trusted(news["url"], news.get("pin"), news.get("given")))

        return self.checked(news, "ca", look)

    def create(self, props: Props) -> CreateResult:
        """Keep what `check` found."""
        return CreateResult("msr-ca", props)

    def read(self, id_: str, props: Props) -> ReadResult:
        """See a rotated CA. An MSR that can't be reached is an error, never a reason to forget its CA."""
        now = {**props, **trusted(props["url"], props.get("pin"), props.get("given"))}
        return ReadResult(id_, now, {**now})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare certificates and how they came to be trusted."""
        return DiffResult(changes=not unchanged(olds, news, "url", "pin", "given", "pem"))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Keep what `check` found."""
        return UpdateResult(news)


class MsrCa(Resource, module="msr", name="MsrCa"):
    """MSR's CA: `pem`, `sha256` (of the DER form), `subject` (RFC 4514) and `expires` (ISO 8601)."""

    pem: pulumi.Output[str]
    sha256: pulumi.Output[str]
    subject: pulumi.Output[str]
    expires: pulumi.Output[str]

    def __init__(self, name: str, msr: Msr, opts: pulumi.ResourceOptions | None = None) -> None:
        given = msr.ca if not isinstance(msr.ca, str) else None
        props = {
            "url": msr.url,
            "pin": given.sha256 if given else None,
            "given": given.pem if given else None,
            **dict.fromkeys(("pem", "sha256", "subject", "expires")),
        }
        super().__init__(MsrCaProvider(), name, props, opts)
