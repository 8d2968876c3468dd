"""MSR as a registry: an image to try a cache with, and where MSR sends somebody who asks for its blobs."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from msr_cache.msr.client_check import Blob
from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from msr_cache.msr.api import Answer, Msr

_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
_REPOSITORIES = 50
"""How many repositories are looked at for one that has an image."""


class MsrRegistry:
    """Asks as the account of `msr`, by tokens of the kind that a registry asks for (distribution: auth/token)."""

    def __init__(self, msr: Msr) -> None:
        self._msr = msr
        self._tokens: dict[str, str] = {}

    def sample(self) -> Blob:
        """Return the smallest layer of the first image there is; Refusal where there is none."""
        for repository in self._json(f"/v2/_catalog?n={_REPOSITORIES}").get("repositories") or []:
            for tag in self._json(f"/v2/{repository}/tags/list").get("tags") or []:
                manifest = self._json(f"/v2/{repository}/manifests/{tag}")
                if layers := manifest.get("layers"):
                    return Blob(repository, min(layers, key=lambda layer: int(layer["size"]))["digest"])
        message = f"MSR at {self._msr.url} shows {self._user} no image to try the cache with: push one, or verify: tls"
        raise Refusal(message)

    def where(self, blob: Blob) -> str:
        """Return the URL at which MSR has `blob` fetched: a cache's for an account that is set to one, else its own."""
        answer = self._ask("GET", blob.path)
        return urljoin(f"{self._msr.url}{blob.path}", answer.headers.get("location", ""))

    @property
    def _user(self) -> str:
        return self._msr.credentials.user

    def _json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._ask("GET", path).body)
        return found

    def _ask(self, method: str, path: str) -> Answer:
        answer = self._msr.ask(method, path, {"Accept": _MANIFESTS, **self._authorization(path)})
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._log_in(path, answer.headers.get("www-authenticate", ""))
            answer = self._msr.ask(method, path, {"Accept": _MANIFESTS, **self._authorization(path)})
        if answer.status >= HTTPStatus.BAD_REQUEST:
            message = (
                f"MSR at {self._msr.url} answered {method} {path} with {answer.status} to {self._user}: "
                "that account must be allowed to list and pull what the cache is tried with"
            )
            raise Refusal(message)
        return answer

    def _authorization(self, path: str) -> dict[str, str]:
        token = self._tokens.get(_scope_of(path))
        return {"Authorization": token} if token else {}

    def _log_in(self, path: str, challenge: str) -> None:
        if challenge.startswith("Basic"):
            self._tokens[_scope_of(path)] = self._msr.credentials.basic
            return
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urlsplit(asked.pop("realm", ""))
        if f"{realm.scheme}://{realm.netloc}" != self._msr.url:
            message = f"MSR at {self._msr.url} sends logins to {realm.netloc or 'nowhere'}: no password was sent there"
            raise Refusal(message)
        target = f"{realm.path}?{urlencode(asked)}"
        answer = self._msr.ask("GET", target, {"Authorization": self._msr.credentials.basic})
        if answer.status != HTTPStatus.OK:
            message = f"MSR at {self._msr.url} refused {self._user} a token ({answer.status}): check msr-cache:msr.user"
            raise Refusal(message)
        token = json.loads(answer.body)
        self._tokens[_scope_of(path)] = f"Bearer {token.get('token') or token.get('access_token')}"


def _scope_of(path: str) -> str:
    """A token is for one repository, or for the catalog."""
    return re.split(r"/(?:blobs|manifests|tags)/", path)[0]
