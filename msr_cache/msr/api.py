"""MSR's own API: its content caches, and which of them an account pulls through (dtr-swagger-2.6.json).

The API has no call that changes a content cache, and its form has no field for the cache's CA.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = 10
"""Seconds until an MSR that does not answer is given up."""
_LONGEST = 200
"""Characters of MSR's own words that an error repeats."""
_CACHES = "/api/v0/content_caches"
_CONFIG = "pulumi config set --path --secret 'msr-cache:msr.password'"


@dataclass(frozen=True)
class Credentials:
    """An account and its password or access token: MSR takes either in the same place."""

    user: str
    secret: str = field(repr=False)

    @classmethod
    def from_config(cls, text: str | None) -> Credentials:
        """Read them from `msr-cache:msr` as the engine hands it to providers, decrypted; Refusal where none are."""
        msr = json.loads(text or "{}")
        secret = msr.get("password") or msr.get("token")
        if not msr.get("user") or not secret:
            message = (
                "msr-cache:msr.user and .password (or .token) are missing, and MSR's API asks for them, also to take a "
                f"cache's entry away: pulumi config set --path 'msr-cache:msr.user' USER, {_CONFIG}, then pulumi up "
                "(pulumi destroy: with --run-program)"
            )
            raise Refusal(message)
        return cls(msr["user"], secret)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


@dataclass(frozen=True)
class Entry:
    """A content cache as MSR knows it; `host` is its URL."""

    id: str
    name: str
    host: str

    def __str__(self) -> str:
        return f"{self.name} at {self.host} (id {self.id})"


@dataclass(frozen=True)
class Answer:
    """What MSR answered: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unanswered(Refusal):
    """No answer came: what was asked may have been done or not."""


class Untrusted(Refusal):
    """MSR's certificate did not verify, so that nothing was sent."""


class MsrError(Refusal):
    """MSR answered with an error of HTTP status `status`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Msr:
    """MSR at `url`, trusted by `ca_pem` (None: the system's trust). Whatever goes wrong is a Refusal."""

    def __init__(self, url: str, ca_pem: str | None, credentials: Credentials) -> None:
        self.url = url
        self.credentials = credentials
        self._context = ssl.create_default_context(cadata=ca_pem)

    def entries(self) -> list[Entry]:
        """Return all content caches."""
        return [_entry(found) for found in self._call("GET", _CACHES) or ()]

    def entry(self, id_: str) -> Entry | None:
        """Return the content cache of that id; None where there is none."""
        # From the list: a 404 may as well come from a proxy in front of an MSR that is down.
        return next((entry for entry in self.entries() if entry.id == id_), None)

    def add(self, name: str, host: str) -> Entry:
        """Make a new entry. After an Unanswered it may be there all the same."""
        return _entry(self._call("POST", _CACHES, {"name": name, "host": host}))

    def remove(self, id_: str) -> None:
        """Remove an entry; one that is gone already is fine."""
        self._call("DELETE", f"{_CACHES}/{quote(id_, safe='')}", absent="NO_SUCH_CONTENT_CACHE")

    def cache_of(self, user: str) -> str | None:
        """Return the id of the cache that an account pulls through, empty for none; None where there is no account."""
        found = self._call("GET", _settings(user), absent="NO_SUCH_USER")
        # The reference writes a capital C in the answer and a lower one in the request.
        return None if found is None else str(found.get("ContentCacheUUID") or found.get("contentCacheUUID") or "")

    def point(self, user: str, id_: str) -> None:
        """Let an account pull through cache `id_`; through none when that is empty."""
        self._call("PATCH", _settings(user), {"contentCacheUUID": id_})

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send one request over verified TLS, following no redirect, and return whatever MSR answers."""
        address = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port or 443, timeout=TIMEOUT, context=self._context
        )
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lower, response.read())
        except ssl.SSLCertVerificationError as error:
            message = (
                f"MSR's certificate at {self.url} does not verify with the CA that this stack trusts: "
                f"{error.verify_message}. Nothing was sent. If MSR's CA was rotated, set msr.ca.sha256 to the new "
                f"one's (python -m msr_cache ca {self.url}), then: pulumi up"
            )
            raise Untrusted(message) from None
        except TimeoutError:
            message = (
                f"MSR at {self.url} did not answer {method} {path} within {TIMEOUT} s: is it overloaded or half down?"
            )
            raise Unanswered(message) from None
        except (OSError, http.client.HTTPException) as error:
            message = f"MSR at {self.url} can't be reached from here ({error}): is it up, and does a firewall let you?"
            raise Unanswered(message) from None
        finally:
            connection.close()

    def _call(self, method: str, path: str, content: object = None, *, absent: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return what the answer's JSON says; None where it has no body, or is a 404 of MSR's own code `absent`."""
        headers = {"Authorization": self.credentials.basic, "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        answer = self.ask(method, path, headers, None if content is None else json.dumps(content).encode())
        if absent and answer.status == HTTPStatus.NOT_FOUND and absent.encode() in answer.body:
            return None
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._error(method, path, answer)
        if not answer.body:
            return None
        try:
            return json.loads(answer.body)
        except ValueError:
            message = f"{self.url}{path} answered something else than JSON: is that MSR? Check msr-cache:msr.url"
            raise Refusal(message) from None

    def _error(self, method: str, path: str, answer: Answer) -> MsrError:
        said = _said(answer.body).replace(self.credentials.secret, "[secret]")
        text = f"MSR at {self.url} answered {method} {path} with {answer.status} ({said}): "
        return MsrError(answer.status, text + self._advice(answer.status, said))

    def _advice(self, status: int, said: str) -> str:
        user = self.credentials.user
        if re.search(r"x509|certificate", said):
            return "MSR does not trust the cache: add the stack output certificatePem to the CAs that MSR's hosts trust"
        if status == HTTPStatus.UNAUTHORIZED:
            # Measured on Pulumi 3.260: without --run-program these two hand the config of the last `up` to providers.
            return (
                f"the password or access token of {user} is wrong, or was revoked: {_CONFIG}; then pulumi up. "
                "destroy and refresh use that of the last `up`, unless they are told --run-program"
            )
        if status == HTTPStatus.FORBIDDEN:
            return f"{user} may not do that: caches and the settings of others need an admin as msr-cache:msr.user"
        if status == HTTPStatus.CONFLICT:
            return "an entry of that name or host is there: remove it in MSR, or give the cache another name"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "MSR itself fails: see its health page and logs; once it is well: pulumi up"
        return "check msr-cache:msr.url and msr.version"


def _entry(found: Mapping[str, Any]) -> Entry:
    try:
        return Entry(str(found["id"]), str(found["name"]), str(found["host"]))
    except (KeyError, TypeError):
        message = "MSR's answer describes no content cache: check msr-cache:msr.url and msr.version"
        raise Refusal(message) from None


def _settings(user: str) -> str:
    return f"/api/v0/accounts/{quote(user, safe='')}/settings"


def _said(body: bytes) -> str:
    try:
        return "; ".join(str(error["message"]) for error in json.loads(body)["errors"])[:_LONGEST]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:_LONGEST] or "no explanation"
