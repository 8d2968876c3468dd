"""The CA that signs MSR's certificate: fetched or given, checked against MSR's own chain, then remembered.

`curl -sk https://<msr-url>/ca`, as in MSR's documentation, trusts every server. Here the answer must be one CA
certificate that verifies MSR's own TLS and host name, before the cache trusts it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult

from msr_cache.https import Client, Failed, Untrusted
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_provider import Remembered, read_or_keep
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.x509 import pem

if TYPE_CHECKING:
    from cryptography import x509

    from msr_cache.config.settings import Msr

LARGEST = 1 << 16
"""Bytes: no CA certificate is larger."""
_CHECK = "Check that this is MSR, that it is up, and the firewall; or set msr.ca.pem to its CA"
REMEMBERED = ("pem", "sha256", "subject", "expires", "offered")
INPUTS = ("url", "pin", "given")
Pins = list[str] | str | None
"""SHA-256 of certificates, or `sha256:` and that of their public keys; states hold one alone as a string."""


def fetch(url: str) -> str:
    """GET `<url>/ca` without trust in the server: check the result with `verify`."""
    try:
        answer = Client(url, None, verify=False, largest=LARGEST).ask("GET", "/ca", {})
    except Failed as error:
        raise Refusal(f"msr-cache:msr.url: MSR at {url} {error}. {_CHECK}") from None
    if answer.status != HTTPStatus.OK:
        raise Refusal(f"msr-cache:msr.url: {url}/ca answered {answer.status}, expected 200. {_CHECK}")
    return answer.body.decode("ascii", errors="ignore")


def verify(url: str, ca_pem: str) -> None:
    """Raise Refusal if MSR's chain and host name do not verify with `ca_pem` alone."""
    try:
        Client(url, ca_pem).certificate()
    except Untrusted as error:
        raise Refusal(
            f"msr-cache:msr.ca: MSR at {url} {error}. If MSR's /ca does not sign MSR's certificate, set msr.ca.pem to "
            "the CA that does; if it does, another server answers in MSR's place"
        ) from None
    except Failed as error:
        raise Refusal(f"msr-cache:msr.url: MSR at {url} {error}. {_CHECK}") from None


def trusted(url: str, text: str, pins: Pins) -> Props:
    """Return the facts to remember of MSR's CA; Refusal if any check fails."""
    if problem := pem.ca_problem(text):
        raise Refusal(f"msr-cache:msr.ca: the CA of {url}: {problem}")
    certificates = pem.certificates(text)
    pins = _listed(pins)
    if pins and (strangers := [certificate for certificate in certificates if not covered(certificate, pins)]):
        # Each must match: a man in the middle could add a CA to MSR's.
        raise Refusal(
            f"msr-cache:msr.ca.sha256: found {' and '.join(map(described, strangers))} at {url}/ca, "
            f"expected {' or '.join(pins)}. If MSR's CA was rotated, set the new pin; if not, another server answers "
            "in MSR's place"
        )
    verify(url, text)
    return {
        "pem": pem.text(*certificates),
        "sha256": ", ".join(map(pem.sha256, certificates)),
        "subject": " and ".join(map(pem.name, certificates)),
        "expires": min(certificate.not_valid_after_utc for certificate in certificates).isoformat(),
    }


def covered(certificate: x509.Certificate, pins: Pins) -> bool:
    """Whether a pin is that of the certificate, or of its key."""
    return bool({pem.sha256(certificate), pem.key_sha256(certificate)} & set(_listed(pins)))


def _listed(pins: Pins) -> list[str]:
    return [pins] if isinstance(pins, str) else pins or []


def described(certificate: x509.Certificate) -> str:
    """Return the certificate's name, and what to pin."""
    return f"{pem.name(certificate)} (SHA-256 {pem.sha256(certificate)}, of its key {pem.key_sha256(certificate)})"


def certificates_of(text: str, url: str) -> list[x509.Certificate]:
    """Parse the answer of `<url>/ca`."""
    try:
        return pem.certificates(text)
    except ValueError as error:
        raise Refusal(f"msr-cache:msr.url: {url}/ca: {error}") from None


def inputs_of(msr: Msr) -> Props:
    """Return where MSR's CA comes from: MSR's `url`, and the `pin` or pins, or the `given` CA, of the settings."""
    given = msr.ca if not isinstance(msr.ca, str) else None
    pins = (given.sha256 if given else None) or []
    pin = pins[0] if len(pins) == 1 else pins or None
    return {"url": msr.url, "pin": pin, "given": given.pem if given else None}


def accepted(inputs: Props) -> Props:
    """Return the facts to remember of the CA that MSR has now, or that is given; Refusal if any check fails."""
    url, pins, given = inputs["url"], inputs.get("pin"), inputs.get("given")
    text = given or fetch(url)
    if not given and not pins and (count := len(certificates_of(text, url))) > 1:
        # With an attacker's CA beside MSR's, `verify` would still pass.
        raise Refusal(
            f"msr-cache:msr.ca: {url}/ca: found {count} certificates, expected one: pin each of them with msr.ca.sha256"
        )
    return trusted(url, text, pins)


class MsrCaProvider(SwarmProvider):
    """Fetches in `check`, which previews run too: the diff is real, and a preview reports an MSR that is down."""

    updates_on = (*INPUTS, "pem")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep what is remembered, unless the operator changes the CA's source or MSR's URL."""
        pin_removed = news.get("pin") is None and news.get("given") is None and unchanged(olds, news, "url")
        if pin_removed or unchanged(olds, news, *INPUTS):
            return CheckResult({**{key: olds[key] for key in REMEMBERED if key in olds}, **news}, [])
        return CheckResult({**news, **accepted(news)}, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult("msr-ca", props)

    def read(self, id_: str, props: Props) -> ReadResult:
        """Report a rotated CA, but trust it only if a pin matches. Report an MSR that is down, and keep its CA."""
        return read_or_keep(id_, props, (*INPUTS, *REMEMBERED), lambda: self._current(props))

    @staticmethod
    def _current(props: Props) -> Props:
        url, pins = props["url"], props.get("pin")
        certificates = certificates_of(props.get("given") or fetch(url), url)
        offered = ", ".join(map(pem.sha256, certificates))
        if offered == props["sha256"] or all(covered(certificate, pins) for certificate in certificates):
            return {**props, **trusted(url, pem.text(*certificates), pins), "offered": None}
        return {**props, "offered": offered}


class MsrCa(Remembered, provider=MsrCaProvider):
    """MSR's CA: `pem`, `sha256` (of the DER form), `subject` (RFC 4514) and `expires` (ISO 8601).

    `offered` is the SHA-256 of another CA, not trusted, that MSR returned at the last refresh.
    """

    pem: pulumi.Output[str]
    sha256: pulumi.Output[str]
    subject: pulumi.Output[str]
    expires: pulumi.Output[str]
    offered: pulumi.Output[str | None]

    def __init__(self, name: str, msr: Msr, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, inputs_of(msr), opts)
        pulumi.Output.all(self.sha256, self.offered).apply(lambda both: self._warn(msr.url, *both))

    @staticmethod
    def _warn(url: str, remembered: str, offered: str | None) -> None:
        if offered:
            pulumi.log.warn(
                f"msr-cache:msr.ca: MSR at {url} has another CA: found SHA-256 {offered}, expected {remembered}. The "
                "new one is not trusted. If MSR's administrator confirms a rotation, set msr.ca.sha256 to the new "
                "SHA-256; if not, another server answers in MSR's place"
            )
