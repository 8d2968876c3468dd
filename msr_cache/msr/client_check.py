"""Whether clients can use a cache: the steps that a client takes, each with the meaning of its failure.

The misconfigurations are those of MSR's documentation ("Test the cache") and of the network between client and cache.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from msr_cache.foreign import shown
from msr_cache.https import Answer, Client, Failed
from msr_cache.progress import slowly
from msr_cache.refusal import Refusal

TIMEOUT = 10
"""Seconds until a step gives up."""
BLOB_TIMEOUT = 600
"""Seconds for a blob, as long as its bytes keep coming."""
BLOB_LIMIT = 16 << 30
"""Bytes: above the largest layer that is common."""
START = 15
"""Seconds that a running task may take until it listens."""
POLL = 0.2
_VERSION = "Docker-Distribution-Api-Version"
_REDIRECTS = {301, 302, 303, 307, 308}

Step = tuple[str, Callable[[], None]]
"""A claim, and a function that raises Refusal if it does not hold."""


@dataclass(frozen=True)
class Target:
    """A cache as clients see it: they trust `trust` alone; `sha256` is the fingerprint of the deployed certificate.

    `node` and `address` (host, port) are of one of its nodes, to which a load balancer may send a client.
    """

    name: str
    url: str
    trust: str
    sha256: str
    node: str = ""
    address: tuple[str, int] | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def place(self) -> tuple[str, int]:
        """Where a client connects: host and port."""
        return self.address or (self.host, urlsplit(self.url).port or 443)

    @property
    def port(self) -> int:
        return self.place[1]

    def client(self) -> Client:
        """Return a client that trusts this cache's certificate alone."""
        return Client(self.url, self.trust, seconds=BLOB_TIMEOUT, largest=BLOB_LIMIT, address=self.address)

    def failed(self, found: str, meaning: str) -> Refusal:
        where = f" on node {self.node} ({self.place[0]}, port {self.port})" if self.node else ""
        return Refusal(f"cache {self.name} at {self.url}{where}: {found}.\n  what it means: {meaning}")


@dataclass(frozen=True)
class Blob:
    """A blob to fetch as a test: its repository and digest (sha256:...)."""

    repository: str
    digest: str

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/blobs/{self.digest}"


def tls_steps(target: Target) -> Iterator[Step]:
    """What must hold before MSR redirects clients to the cache."""
    if not target.address:
        yield (
            f"the name {target.host} resolves",
            slowly(f"the name {target.host} to resolve")(partial(_resolves, target)),
        )
    yield f"port {target.port} answers", slowly(f"port {target.port} of {target.host}")(partial(_answers, target))
    yield "the certificate is the one deployed", partial(_is_deployed, target)
    yield "TLS verifies with certificatePem", partial(_verifies, target)
    yield "/v2/ answers as a registry does", partial(_is_registry, target)


def _resolves(target: Target) -> None:
    try:
        socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        meaning = (
            "`fqdn` is wrong, or a DNS entry is still missing; if clients resolve the name and only this machine does "
            "not, set `verify` to off"
        )
        raise target.failed(f"the name {target.host} does not resolve here ({error.strerror})", meaning) from None


def _answers(target: Target) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection(target.place, timeout=TIMEOUT).close()
        except TimeoutError:
            meaning = (
                f"a firewall drops TCP port {target.port} between here and the cache, or `fqdn` leads to a machine "
                "that is off: open the port; if the firewall blocks only this machine, set `verify` to off"
            )
            raise target.failed(f"port {target.port} does not answer within {TIMEOUT} s", meaning) from None
        except OSError as error:
            if time.monotonic() < deadline and isinstance(error, ConnectionError):
                time.sleep(POLL)
                continue
            meaning = (
                "`fqdn` leads to a node that does not publish the cache's port: name one of `nodes` (publishMode host) "
                "or any node of the swarm (ingress), and check `port`. With `externalPort`, the load balancer does not "
                "listen there"
            )
            if target.node:
                meaning = "a task runs there, so a firewall is in between, or the node has another address for clients"
            raise target.failed(f"port {target.port} is closed ({error.strerror or error})", meaning) from None
        else:
            return


def _is_deployed(target: Target) -> None:
    # Before trust is checked: the certificate that a server shows explains why it does not verify.
    try:
        shown = hashlib.sha256(
            Client(target.url, None, verify=False, seconds=TIMEOUT, address=target.address).certificate()
        ).hexdigest()
    except Failed as error:
        meaning = "another program listens there, or a proxy without TLS is in between: check `fqdn` and `port`"
        raise target.failed(f"port {target.port} does not speak TLS: it {error}", meaning) from None
    if shown != target.sha256:
        meaning = (
            "another server answers to this name (a wrong host, or a load balancer that terminates TLS), or the cache "
            "still runs with an older certificate: check `fqdn`, and let TLS pass through to the cache"
        )
        raise target.failed(f"found a certificate with SHA-256 {shown}, expected {target.sha256}", meaning)


def _verifies(target: Target) -> None:
    try:
        target.client().certificate()
    except Failed as error:
        meaning = (
            "no client will trust the cache: the certificate must name `fqdn` as SAN, be valid now (check the clocks) "
            "and be signed by the CA in the stack output certificatePem"
        )
        raise target.failed(f"TLS does not verify with certificatePem: the cache {error}", meaning) from None


def _is_registry(target: Target) -> None:
    answer, _ = get(target, "/v2/")
    status, version = answer.status, answer.headers.get(_VERSION.lower(), "")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        meaning = "the cache's storage fails its health check: check `storage`, and docker service logs"
        raise target.failed("/v2/ answers 503", meaning)
    # Distribution's API v2: 200, or 401 if it requires a login; each with this header.
    if status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED) or not version.startswith("registry/2"):
        meaning = "the server is not a registry: a proxy or load balancer sends the name elsewhere"
        raise target.failed(f"/v2/ answers {status}, and {_VERSION} {shown(version) or 'is missing'}", meaning)


def fetch(target: Target, blob: Blob, path: str) -> None:
    """Fetch `blob` at `path` of the cache, or where that redirects to, and compare its digest."""
    answer, digest = get(target, path)
    status = answer.status
    if status in _REDIRECTS:
        _fetch_from_bucket(target, blob, answer.headers.get("location", ""))
    elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        meaning = (
            "the cache serves only requests that MSR has signed: add the account of msr-cache:msr.user to "
            "registerInMsr.users, so that MSR redirects this check to the cache as it does a client"
        )
        raise target.failed(f"a blob is answered with {status}", meaning)
    elif status != HTTPStatus.OK:
        absent = "the blob does not exist (use a layer's digest, not an image's), or "
        meaning = (absent if status == HTTPStatus.NOT_FOUND else "") + (
            "the cache can't fetch from MSR: it does not trust MSR (msr.ca), does not reach it (firewall, DNS in the "
            "swarm, `upstreams`), or has another version than MSR: docker service logs shows which"
        )
        raise target.failed(f"blob {shown(blob.digest)} of {shown(blob.repository)} is answered with {status}", meaning)
    elif digest != blob.digest:
        meaning = "the content is damaged: the cache's storage or a server in between changes it"
        raise target.failed(f"found a blob with digest {digest}, expected {shown(blob.digest)}", meaning)


def _fetch_from_bucket(target: Target, blob: Blob, location: str) -> None:
    """Fetch it as Docker's client does, which trusts the operating system's CAs; `location` may hold a signature."""
    meaning = (
        "the cache works, and sends clients to its bucket, which fails: remove storage.redirect, so that the cache "
        "serves the blobs itself, or let clients reach and trust the bucket"
    )
    digest, bucket = hashlib.sha256(), shown(location.partition("?")[0])
    try:
        url = urlsplit(location)
        if url.scheme != "https":
            raise Failed("does not speak TLS")  # noqa: TRY301 - reported with the others
        client = Client(location, None, seconds=BLOB_TIMEOUT, largest=BLOB_LIMIT)
        status = client.ask("GET", f"{url.path}?{url.query}", {}, write=digest.update).status
        problem = "serves another blob" if status == HTTPStatus.OK else f"answers {status}"
    except (Failed, ValueError) as error:
        status, problem = 0, str(error) if isinstance(error, Failed) else "has no URL"
    if status != HTTPStatus.OK or f"sha256:{digest.hexdigest()}" != blob.digest:
        raise target.failed(f"a blob is redirected to {bucket}, which {problem}", meaning)


def get(target: Target, path: str) -> tuple[Answer, str]:
    """GET over verified TLS: the answer without its body, and the body's digest."""
    digest = hashlib.sha256()
    try:
        answer = target.client().ask("GET", path, {}, write=digest.update)
    except Failed as error:
        meaning = "the cache stopped or hangs: docker service logs shows why"
        raise target.failed(f"GET {shown(urlsplit(path).path)}: the cache {error}", meaning) from None
    return answer, f"sha256:{digest.hexdigest()}"
