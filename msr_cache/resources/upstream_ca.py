"""Why a cache trusts a next hop that is neither MSR nor of this stack: the CA that the config gives, or pins."""

import ssl
from contextlib import suppress

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult

from msr_cache.https import Client, Failed, Untrusted
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_ca import LARGEST, covered, described
from msr_cache.resources.msr_provider import Remembered, read_or_keep
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.x509 import pem

INPUTS = ("url", "pins", "given")


def trusted(props: Props) -> str:
    """Return the CA as PEM, with which alone the server verifies; else raise Refusal."""
    at, url = props["at"], props["url"]
    try:
        text: str = props.get("given") or _pinned(at, url, props["pins"])
        Client(url, text).certificate()
    except Untrusted as error:
        raise Refusal(
            f"{at}.ca: the upstream at {url} {error}. Set the CA that signs its certificate, or that certificate "
            "itself if it is self-signed (of a cache, the output certificatePem of its stack)"
        ) from None
    except Failed as error:
        raise Refusal(f"{at}.url: the upstream at {url} {error}. Check that it is up, and the firewall") from None
    return text


def _pinned(at: str, url: str, pins: list[str]) -> str:
    """Return what matches a pin of the certificates that the server shows: its own, and at /ca, if it is an MSR."""
    client = Client(url, None, verify=False, largest=LARGEST)
    shown = pem.certificates(ssl.DER_cert_to_PEM_cert(client.certificate()))
    with suppress(ValueError):
        shown += pem.certificates(client.ask("GET", "/ca", {}).body.decode("ascii", errors="ignore"))
    if not (matching := [certificate for certificate in shown if covered(certificate, pins)]):
        raise Refusal(
            f"{at}.ca.sha256: found {' and '.join(map(described, shown))} at {url}, expected {' or '.join(pins)}. "
            "If its certificate was replaced, set the new pin; if not, another server answers in its place"
        )
    return pem.text(*matching)


class UpstreamCaProvider(SwarmProvider):
    """Looks in `check`, which previews run too, whenever the config changes."""

    updates_on = (*INPUTS, "pem")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep what is remembered, unless the operator changes the URL or the CA's source."""
        known = olds["pem"] if unchanged(olds, news, *INPUTS) else trusted(news)
        return CheckResult({**news, "pem": known}, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["url"], props)

    def read(self, id_: str, props: Props) -> ReadResult:
        """Take over what a pin covers now; keep what is known of an upstream that is down."""
        return read_or_keep(id_, props, ("at", *INPUTS, "pem"), lambda: {**props, "pem": trusted(props)})


class UpstreamCa(Remembered, provider=UpstreamCaProvider):
    """The CA of the server at `url`: `given` (PEM), or with one of the `pins`; `at` is the config key."""

    pem: pulumi.Output[str]
