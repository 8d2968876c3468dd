"""MSR as a registry: a blob to test a cache with, and the URL to which MSR redirects a client that pulls it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from msr_cache.foreign import shown
from msr_cache.https import Answer, TooLarge, parsed
from msr_cache.msr.api import Msr, odd_answer
from msr_cache.msr.client_check import Blob
from msr_cache.refusal import Refusal

_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
_REPOSITORIES = 50
"""The number of repositories to search for an image."""


class MsrRegistry:
    """Pulls as the account of `msr`, with the Basic or Bearer login that MSR asks for (distribution: auth/token)."""

    def __init__(self, msr: Msr) -> None:
        self._msr = msr
        self._logins: dict[str, dict[str, str]] = {}

    def sample(self) -> Blob:
        """Return the smallest layer of the first image."""
        for repository in self._names(f"/v2/_catalog?n={_REPOSITORIES}", "repositories"):
            for tag in self._names(f"/v2/{repository}/tags/list", "tags"):
                layers = self._json(f"/v2/{repository}/manifests/{tag}").get("layers") or []
                try:
                    sizes = {str(layer["digest"]): int(layer["size"]) for layer in layers}
                except (KeyError, TypeError, ValueError, OverflowError):
                    raise odd_answer("an image's manifest") from None
                if sizes:
                    return Blob(repository, min(sizes, key=sizes.__getitem__))
        raise Refusal(f"MSR at {self._msr.url} shows {self._user} no image to test with: push one, or set verify: tls")

    def location(self, blob: Blob) -> str:
        """Return the URL from which MSR serves `blob`: the cache's if the account pulls through one, else MSR's."""
        url = f"{self._msr.url}{blob.path}"
        try:
            return urljoin(url, self._ask(blob.path).headers.get("location", ""))
        except TooLarge:  # the blob itself
            return url
        except ValueError:
            raise odd_answer("a redirect to a URL") from None

    @property
    def _user(self) -> str:
        return self._msr.credentials.user

    def _names(self, path: str, key: str) -> list[str]:
        names = self._json(path).get(key) or []
        # They become parts of paths.
        if not isinstance(names, list) or not all(re.fullmatch(r"[\w./-]+", str(name), re.ASCII) for name in names):
            raise odd_answer(f"a list of {key}")
        return names

    def _json(self, path: str) -> dict[str, Any]:
        return _map(self._ask(path).body)

    def _ask(self, path: str) -> Answer:
        scope = re.split(r"/(?:blobs|manifests|tags)/", path)[0]  # a login is for one repository, or for the catalog
        headers = {"Accept": _MANIFESTS, **self._logins.get(scope, {})}
        answer = self._msr.ask("GET", path, headers)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._logins[scope] = {"Authorization": self._log_in(answer.headers.get("www-authenticate", ""))}
            answer = self._msr.ask("GET", path, {**headers, **self._logins[scope]})
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise Refusal(
                f"MSR at {self._msr.url} answered GET {shown(path)} with {answer.status}: "
                f"{self._user} must have the right to list and pull an image to test the cache with"
            )
        return answer

    def _log_in(self, challenge: str) -> str:
        if challenge.startswith("Basic"):
            return self._msr.credentials.basic
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        try:
            realm = urlsplit(asked.pop("realm", ""))
        except ValueError:
            raise odd_answer("a request to log in at a URL") from None
        if f"{realm.scheme}://{realm.netloc}" != self._msr.url:
            raise Refusal(
                f"found the login server {shown(realm.hostname)}, expected {self._msr.url}: no password was sent. "
                "Check MSR's domain name in its settings, and msr-cache:msr.url"
            )
        headers = {"Authorization": self._msr.credentials.basic}
        answer = self._msr.ask("GET", f"{realm.path}?{urlencode(asked)}", headers)
        if answer.status != HTTPStatus.OK:
            raise Refusal(
                f"MSR at {self._msr.url} refused a token to {self._user} with {answer.status}: "
                f"check msr-cache:msr.user and .{self._msr.credentials.kind}"
            )
        token = _map(answer.body)
        return f"Bearer {token.get('token') or token.get('access_token')}"


def _map(body: bytes) -> dict[str, Any]:
    try:
        found = parsed(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise odd_answer("a registry's JSON")
    return found
