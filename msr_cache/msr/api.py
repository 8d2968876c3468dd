"""MSR's API: its content caches, and the one that an account pulls through (dtr-swagger-2.6.json).

The API can't change a content cache, and its form has no field for the cache's CA.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msr_cache import https
from msr_cache.foreign import shown
from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from msr_cache.config import settings

_CACHES = "/api/v0/content_caches"
_CONFIG = "pulumi config set --path --secret 'msr-cache:msr.{}'"


@dataclass(frozen=True)
class Credentials:
    """An account with its password or access token: MSR takes either as the password."""

    user: str
    secret: str = field(repr=False)
    kind: str = "password"
    """The key of `msr-cache:msr` that has the secret: `password` or `token`."""

    @classmethod
    def from_config(cls, text: str | None) -> Credentials:
        """Read them from `msr-cache:msr` as the engine passes it to providers, decrypted."""
        msr = json.loads(text or "{}")
        secret = msr.get("password") or msr.get("token")
        if not msr.get("user") or not secret:
            raise Refusal(
                "msr-cache:msr: found no user or no password, expected user and password (or token), which MSR's API "
                "needs for registerInMsr and for removing an entry: run pulumi config set --path 'msr-cache:msr.user' "
                f"USER and {_CONFIG.format('password')}, then pulumi up (pulumi destroy: with --run-program)"
            )
        return cls(msr["user"], secret, "password" if msr.get("password") else "token")

    @classmethod
    def from_settings(cls, msr: settings.Msr) -> Credentials | None:
        """Return those of the stack, if it has any."""
        secret = msr.password or msr.token
        kind = "password" if msr.password else "token"
        return cls(msr.user, secret.get_secret_value(), kind) if msr.user and secret else None

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return f"Basic {self._base64}"

    @property
    def _base64(self) -> str:
        return base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    @property
    def spellings(self) -> list[str]:
        """How a server may repeat the secret: in the header, and as text, JSON, HTML or part of a URL."""
        secret = self.secret
        return [self._base64, secret, json.dumps(secret)[1:-1], escape(secret), quote(secret, safe="")]


@dataclass(frozen=True)
class Entry:
    """A content cache as MSR knows it; `host` is its URL."""

    id: str
    name: str
    host: str

    def __str__(self) -> str:
        return f"{shown(self.name)} at {shown(self.host)} (id {shown(self.id)})"


class MsrError(Refusal):
    """MSR answered with an HTTP error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Msr:
    """MSR at `url`, trusted via `ca_pem` (None: the operating system's CAs). Every failure is a Refusal."""

    def __init__(self, url: str, ca_pem: str | None, credentials: Credentials) -> None:
        self.url = url
        self.credentials = credentials
        self._client = https.Client(url, ca_pem)

    def entries(self) -> list[Entry]:
        """Return all content caches."""
        # Go writes a list that has no items as null.
        found = self._call("GET", _CACHES)
        if not isinstance(found, list | None):
            raise odd_answer("a list of content caches")
        return [_entry(each) for each in found or ()]

    def entry(self, id_: str) -> Entry | None:
        """Return the content cache with this id, if there is one."""
        # From the list: a 404 can also come from a proxy in front of an MSR that is down.
        return next((entry for entry in self.entries() if entry.id == id_), None)

    def add(self, name: str, host: str) -> Entry:
        """Create an entry. It may exist even after an Unanswered."""
        return _entry(self._call("POST", _CACHES, {"name": name, "host": host}))

    def remove(self, id_: str) -> None:
        """Remove an entry, if it still exists."""
        self._call("DELETE", f"{_CACHES}/{quote(id_, safe='')}", absent="NO_SUCH_CONTENT_CACHE")

    def cache_of(self, user: str) -> str | None:
        """Return the id of the cache that an account pulls through, empty for none; None if there is no account."""
        found = self._call("GET", _settings(user), absent="NO_SUCH_USER")
        # The reference has a capital C in the answer and a lower-case one in the request.
        if not isinstance(found, dict | None):
            raise odd_answer("an account's settings")
        return None if found is None else str(found.get("ContentCacheUUID") or found.get("contentCacheUUID") or "")

    def point(self, user: str, id_: str) -> None:
        """Let an account pull through cache `id_`, or through none if `id_` is empty."""
        self._call("PATCH", _settings(user), {"contentCacheUUID": id_})

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> https.Answer:
        """Send one request and return MSR's answer, whatever its status."""
        try:
            return self._client.ask(method, path, headers, body)
        except https.Failed as error:
            advice = "Check msr-cache:msr.url, that MSR is up, and the firewall"
            if isinstance(error, https.Untrusted):
                advice = (
                    "Nothing was sent. If MSR's CA was rotated, set msr.ca.sha256 to the new pin (from python -m "
                    f"msr_cache ca {self.url}), then run pulumi up"
                )
            message = f"{method} {shown(path.partition('?')[0])}: MSR at {self.url} {error}. {advice}"
            raise type(error)(message) from None

    def _call(self, method: str, path: str, content: object = None, *, absent: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return the answer's JSON; None for an empty body and for a 404 with MSR's code `absent`."""
        headers = {"Authorization": self.credentials.basic, "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        answer = self.ask(method, path, headers, None if content is None else json.dumps(content).encode())
        if absent and answer.status == HTTPStatus.NOT_FOUND and absent.encode() in answer.body:
            return None
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._error(method, path, answer)
        if not answer.body and method != "GET":
            return None
        try:
            return https.parsed(answer.body)
        except ValueError:
            raise Refusal(
                f"found no JSON at {self.url}{path}, expected MSR's API: check that msr-cache:msr.url is MSR"
            ) from None

    def _error(self, method: str, path: str, answer: https.Answer) -> MsrError:
        reason = shown(_reason(answer.body), self.credentials.spellings)
        text = f"MSR at {self.url} answered {method} {path} with {answer.status} ({reason}): "
        return MsrError(answer.status, text + self._advice(answer.status, reason))

    def _advice(self, status: int, reason: str) -> str:
        user, kind = self.credentials.user, self.credentials.kind
        if re.search(r"x509|certificate", reason):
            return "MSR does not trust the cache: add the stack output certificatePem to the CAs that MSR's hosts trust"
        if status == HTTPStatus.UNAUTHORIZED:
            # Measured on Pulumi 3.260: without --run-program these two pass the config of the last `up` to providers.
            return (
                f"the {kind} of {user} is wrong or revoked: run {_CONFIG.format(kind)}, then pulumi up. "
                "pulumi destroy and refresh use the one of the last `up`, unless you add --run-program"
            )
        if status == HTTPStatus.FORBIDDEN:
            return f"{user} lacks the right: set msr-cache:msr.user to an admin, who may change caches and accounts"
        if status == HTTPStatus.CONFLICT:
            return "an entry with this name or host exists: give the cache another name"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "MSR itself fails: check its health page and logs, then run pulumi up"
        return "check msr-cache:msr.url and msr.version"


def _entry(found: Mapping[str, Any]) -> Entry:
    try:
        return Entry(str(found["id"]), str(found["name"]), str(found["host"]))
    except (KeyError, TypeError):
        raise odd_answer("a content cache") from None


def odd_answer(expected: str) -> Refusal:
    """Return the error for an answer that is something else."""
    return Refusal(f"MSR's answer is not {expected}, as expected: check msr-cache:msr.url and msr.version")


def _settings(user: str) -> str:
    return f"/api/v0/accounts/{quote(user, safe='')}/settings"


def _reason(body: bytes) -> str:
    try:
        return "; ".join(str(error["message"]) for error in https.parsed(body)["errors"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "no explanation"
