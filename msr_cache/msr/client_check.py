"""Whether a cache can be used: what a client does first, step by step, each with what its failure means.

The misconfigurations are those of MSR's own page (cache deployment, "Test the cache"), and who else may be in the way.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from msr_cache.refusal import Refusal

TIMEOUT = 10
"""Seconds for which one step waits for an answer."""
START = 15
"""Seconds that a task which runs already may take until it listens."""
POLL = 0.2
_CHUNK = 1 << 20
_VERSION = "Docker-Distribution-Api-Version"

Step = tuple[str, Callable[[], None]]
"""What is shown to be so, and what raises Refusal when it is not."""


@dataclass(frozen=True)
class Target:
    """A cache as clients know it: `trust` is all that they trust, `sha256` the certificate that was deployed."""

    name: str
    url: str
    trust: str
    sha256: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 443

    def context(self) -> ssl.SSLContext:
        """Trust this cache's certificate and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.trust)
        return context

    def failed(self, what: str, meaning: str) -> Refusal:
        return Refusal(f"cache {self.name} at {self.url}: {what}.\n  what it means: {meaning}")


@dataclass(frozen=True)
class Blob:
    """A blob to fetch as a test, by its repository and digest (sha256:...)."""

    repository: str
    digest: str

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/blobs/{self.digest}"


def tls_steps(target: Target) -> Iterator[Step]:
    """What must hold before anybody is sent to the cache."""
    yield "its name resolves", partial(_resolves, target)
    yield "its port answers", partial(_answers, target)
    yield "the certificate is the one deployed", partial(_is_deployed, target)
    yield "TLS verifies with certificatePem", partial(_verifies, target)
    yield "/v2/ answers as a registry does", partial(_is_registry, target)


def _resolves(target: Target) -> None:
    try:
        socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        meaning = (
            "a wrong `fqdn`, or a DNS entry that is still missing; if clients resolve the name and only this machine "
            "does not, set `verify` to off"
        )
        raise target.failed(f"the name {target.host} does not resolve here ({error.strerror})", meaning) from None


def _answers(target: Target) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection((target.host, target.port), timeout=TIMEOUT).close()
        except TimeoutError:
            meaning = (
                f"a firewall drops TCP port {target.port} between here and the cache, or `fqdn` leads to a machine "
                "that is off: open the port; if only this machine is kept out, set `verify` to off"
            )
            raise target.failed(f"no answer from port {target.port} within {TIMEOUT} s", meaning) from None
        except OSError as error:
            if time.monotonic() < deadline and isinstance(error, ConnectionError):
                time.sleep(POLL)
                continue
            meaning = (
                "`fqdn` leads to a node that does not publish the cache's port: name one of `nodes` (publishMode host) "
                "or any node of the swarm (ingress), and check `port`"
            )
            raise target.failed(f"port {target.port} is closed ({error.strerror or error})", meaning) from None
        else:
            return


def _is_deployed(target: Target) -> None:
    # Before trust is asked for: what is served tells why it does not verify.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((target.host, target.port), timeout=TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=target.host) as secured,
        ):
            served = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
    except OSError as error:
        meaning = (
            "something else listens there, or a proxy that speaks no TLS stands in between: check `fqdn` and `port`"
        )
        raise target.failed(f"no TLS is spoken on port {target.port} ({_reason(error)})", meaning) from None
    if served != target.sha256:
        meaning = (
            "another server answers under this name (wrong host, or a load balancer that ends TLS itself), or the "
            "cache still runs with an older certificate: check `fqdn`, and let TLS pass through to the cache"
        )
        what = f"the certificate served has SHA-256 {served}, deployed was {target.sha256}"
        raise target.failed(what, meaning)


def _verifies(target: Target) -> None:
    try:
        with (
            socket.create_connection((target.host, target.port), timeout=TIMEOUT) as connection,
            target.context().wrap_socket(connection, server_hostname=target.host),
        ):
            pass
    except OSError as error:
        meaning = (
            "no client will trust the cache: the certificate must name `fqdn` as SAN, be valid now (clocks!) and be "
            "signed by what the stack output certificatePem holds"
        )
        raise target.failed(f"TLS does not verify with certificatePem ({_reason(error)})", meaning) from None


def _is_registry(target: Target) -> None:
    status, version, _ = get(target, "/v2/")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        meaning = "the cache's storage fails its health check: check `storage`, and docker service logs"
        raise target.failed("/v2/ answers 503", meaning)
    # Distribution's API v2: 200, or 401 where it wants to be logged in to; each with this header.
    if status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED) or not version.startswith("registry/2"):
        meaning = "what answers there is no registry: a proxy or load balancer sends the name elsewhere"
        raise target.failed(f"/v2/ answers {status}, and {_VERSION} {version or 'is missing'}", meaning)


def fetch(target: Target, blob: Blob, path: str) -> None:
    """Fetch `blob` at `path` of the cache and compare its digest."""
    status, _, digest = get(target, path)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        meaning = (
            "the cache serves only what MSR has signed: add the account of msr-cache:msr.user to registerInMsr.users, "
            "so that MSR sends this check to the cache as it does a client"
        )
        raise target.failed(f"a blob is answered by {status}", meaning)
    if status != HTTPStatus.OK:
        absent = "there is no such blob (an image's digest is none, a layer's is), or "
        meaning = (absent if status == HTTPStatus.NOT_FOUND else "") + (
            "the cache can't fetch from MSR: it does not trust MSR (msr.ca), does not reach it (firewall, DNS in the "
            "swarm, `upstreams`), or is of another version than MSR: docker service logs tells which"
        )
        raise target.failed(f"blob {blob.digest} of {blob.repository} is answered by {status}", meaning)
    if digest != blob.digest:
        meaning = "what came is damaged: the cache's storage or something in between changes what passes through"
        raise target.failed(f"blob {blob.digest} came with digest {digest}", meaning)


def get(target: Target, path: str) -> tuple[int, str, str]:
    """GET over verified TLS: status, the registry's version header, and the body's digest."""
    connection = http.client.HTTPSConnection(target.host, target.port, timeout=TIMEOUT, context=target.context())
    digest = hashlib.sha256()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
    except (OSError, http.client.HTTPException) as error:
        meaning = "the cache ended or hangs: docker service logs tells why"
        raise target.failed(f"GET {urlsplit(path).path} failed ({_reason(error)})", meaning) from None
    finally:
        connection.close()
    return response.status, response.headers.get(_VERSION, ""), f"sha256:{digest.hexdigest()}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return str(getattr(error, "reason", None) or error) or type(error).__name__
