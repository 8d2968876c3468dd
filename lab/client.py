"""A client that pulls an image as a docker client does, and believes nothing that it has not checked."""

import hashlib
import json
import re
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import urllib3

from lab.errors import LabError

_MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_MAX_REDIRECTS = 5
_TIMEOUT = 30


class PullError(LabError):
    """Why a pull failed: the URL and the reason, in one line."""


@dataclass(frozen=True)
class PullResult:
    """`blobs`: the length of each blob (the config and the layers) by its digest; `hosts`: who served blobs."""

    manifest_digest: str
    blobs: dict[str, int]
    hosts: set[str]
    seconds: float


def pull(  # noqa: PLR0913 - what `docker pull` knows of as well
    url: str,
    repository: str,
    reference: str,
    ca_pem: str | None,
    *,
    address: str | None = None,
    user: tuple[str, str] | None = None,
) -> PullResult:
    """Pull `repository:reference`, or `@reference` when it is a digest, and check every byte by its digest.

    Trusts only `ca_pem` (None: what the system trusts). `address` is where the host of `url` is reached when its name
    does not resolve here; the certificate is checked against the name all the same. `user` is a name and a password or
    token, which nobody but the registry at `url` and its token server get to see.
    """
    started = time.monotonic()
    session = _Session(url, ca_pem, address, user)
    manifest = session.get(f"/v2/{repository}/manifests/{reference}", accept=", ".join(_MANIFEST_TYPES))
    digest = _digest(manifest)
    if reference.startswith("sha256:"):
        _check_digest(reference, digest)
    content = json.loads(manifest)
    if content.get("mediaType") not in _MANIFEST_TYPES:
        raise PullError(f"{repository}:{reference}: no image manifest but {content.get('mediaType')}")
    session.hosts.clear()
    blobs = {}
    for blob in [content["config"], *content["layers"]]:
        body = session.get(f"/v2/{repository}/blobs/{blob['digest']}")
        _check_digest(blob["digest"], _digest(body))
        blobs[blob["digest"]] = len(body)
    return PullResult(digest, blobs, session.hosts, time.monotonic() - started)


class _Session:
    """GET requests to one registry and to where it redirects."""

    def __init__(self, url: str, ca_pem: str | None, address: str | None, user: tuple[str, str] | None) -> None:
        if urlsplit(url).scheme != "https":
            raise PullError(f"{url}: not an https:// URL")
        self.hosts: set[str] = set()
        """Who gave what was asked for, as `host:port`."""
        self._url = url
        self._address = address
        self._user = user
        self._context = ssl.create_default_context(cadata=ca_pem)
        self._pools: dict[str, urllib3.HTTPSConnectionPool] = {}
        self._authorization: dict[str, str] = {}

    def get(self, path: str, accept: str = "*/*") -> bytes:
        response = self._follow(path, accept)
        if response.status == HTTPStatus.UNAUTHORIZED and "WWW-Authenticate" in response.headers:
            self._authorization = {"Authorization": self._authorize(response.headers["WWW-Authenticate"])}
            response = self._follow(path, accept)
        if response.status != HTTPStatus.OK:
            raise PullError(f"{path}: {response.status} {response.data[:200].decode(errors='replace').strip()}")
        return response.data

    def _follow(self, path: str, accept: str) -> urllib3.BaseHTTPResponse:
        url = urljoin(self._url, path)
        for _ in range(_MAX_REDIRECTS):
            response = self._get(url, {"Accept": accept, **self._authorization})
            location = response.get_redirect_location()
            if not location:
                break
            url = urljoin(url, location)
        self.hosts.add(urlsplit(url).netloc)
        return response

    def _authorize(self, challenge: str) -> str:
        """Get a token as the registry asks for, in the user's name where there is one (distribution: auth/token)."""
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = asked.pop("realm")
        headers = urllib3.make_headers(basic_auth=":".join(self._user)) if self._user else {}
        response = self._get(f"{realm}?{urlencode(asked)}", headers)
        if response.status != HTTPStatus.OK:
            raise PullError(f"{realm}: {response.status} {response.data[:200].decode(errors='replace').strip()}")
        return f"Bearer {response.json()['token']}"

    def _get(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        parts = urlsplit(url)
        if parts.scheme != "https":
            raise PullError(f"{url}: redirected to where nothing is encrypted")
        if parts.netloc != urlsplit(self._url).netloc:
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        target = urlunsplit(("", "", parts.path, parts.query, ""))
        try:
            pool = self._pool(parts.netloc)
            return pool.request("GET", target, headers={**headers, "Host": parts.netloc}, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise PullError(f"{url}: {error}") from error

    def _pool(self, netloc: str) -> urllib3.HTTPSConnectionPool:
        if netloc not in self._pools:
            host, port = urlsplit(f"//{netloc}").hostname, urlsplit(f"//{netloc}").port
            reached_at = self._address if netloc == urlsplit(self._url).netloc and self._address else host
            self._pools[netloc] = urllib3.HTTPSConnectionPool(
                str(reached_at),
                port or 443,
                timeout=_TIMEOUT,
                retries=False,
                ssl_context=self._context,
                server_hostname=host,
            )
        return self._pools[netloc]


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _check_digest(expected: str, found: str) -> None:
    if expected != found:
        raise PullError(f"{expected}: what came has the digest {found}")
