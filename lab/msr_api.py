"""MSR's own part of the stand-in: accounts, content caches, tokens, and where a user's pull is sent.

Known from DTR's 2.6 API reference (dtr-swagger-2.6.json) and its guide to access tokens: the calls below
/api/v0/content_caches and /api/v0/accounts/{user}/settings with who may make them, their status codes and bodies (the
settings' capital C in the answer, lower c in the request; no call that changes a cache), and an access token wherever a
password goes. Known from the distribution project: how a registry asks for a token and what a token server answers.

ASSUMED, since no public document tells it; all of it stands in this module:
- the sign and time limit in a redirected blob's URL, and that the redirect is a 307 to the cache's `host` + the path;
- MSR serves blobs without credentials: how it knows a cache that fetches is told nowhere, and the lab's has none;
- a token server at /auth/token; Basic works below /v2/ as well as a token does;
- MSR takes several entries of one name and of one host, so that whoever posts twice makes a twin;
- an account that points at an entry which is gone gets errors, not blobs; an empty contentCacheUUID is "no cache";
- the texts of errors; that 400 with an x509 text is what MSR says when it does not trust the cache it is told of.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ADMIN = "admin"
PASSWORDS = {
    ADMIN: "lab-password-of-admin-5d1c",
    "alice": "lab-password-of-alice-90ab",
    "bob": "lab-password-of-bob-77e3",
}
ACCESS_TOKENS = {ADMIN: "lab-access-token-of-admin-c0ffee"}
_PUBLIC = "library/"
"""Repositories that anybody may pull from; every account may pull from all others."""
_TOKEN_SECONDS = 300
_ANYBODY = ""


@dataclass(frozen=True)
class Request:
    """What a client asks: `authorization` and `body` are empty where it sent none."""

    method: str
    path: str
    authorization: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What it gets: `body` becomes JSON; None is no body at all."""

    status: HTTPStatus
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()


class Book:
    """What MSR remembers, in a file that the front and its operator may change at the same time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def open(self) -> Iterator[dict[str, Any]]:
        """Give `caches` (by id), `settings` (a cache's id by account) and `key`; what is changed is kept."""
        with self._file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read()
            known = json.loads(before) if before else {"caches": {}, "settings": {}, "key": uuid.uuid4().hex}
            yield known
            if (after := json.dumps(known)) != before:
                file.truncate(0)
                file.write(after)


class Api:
    """Answers what MSR itself answers; `url` is its own, as clients know it."""

    def __init__(self, book: Book, url: str) -> None:
        self._book = book
        self._url = url

    def answer(self, request: Request) -> Answer | None:
        """Return MSR's own answer, or None where its registry is to answer."""
        path = urlsplit(request.path).path
        with self._book.open() as known:
            user = self._user(request.authorization, known["key"])
            if path == "/auth/token":
                return self._token(request, user, known["key"])
            if path.startswith("/v2/"):
                return self._registry(request, path, user, known)
            if user in (None, _ANYBODY):
                return _error(HTTPStatus.UNAUTHORIZED, "NOT_AUTHENTICATED", "the client is not authenticated")
            if path.startswith("/api/v0/content_caches"):
                return _content_caches(request, path, str(user), known)
            if path.startswith("/api/v0/accounts/") and path.endswith("/settings"):
                return _settings(request, path, str(user), known)
        return _error(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such call")

    def _user(self, authorization: str, key: str) -> str | None:
        """The account that sent this; _ANYBODY with an anonymous token, None with nothing that is right."""
        kind, _, value = authorization.partition(" ")
        if kind == "Basic":
            name, _, secret = base64.b64decode(value).decode(errors="replace").partition(":")
            return name if secret and secret in (PASSWORDS.get(name), ACCESS_TOKENS.get(name)) else None
        if kind == "Bearer":
            name, _, rest = value.partition(".")
            ends, _, sign = rest.partition(".")
            fits = hmac.compare_digest(sign, _sign(key, f"{name}.{ends}"))
            return bytes.fromhex(name).decode() if fits and time.time() < int(ends) else None
        return None

    def _token(self, request: Request, user: str | None, key: str) -> Answer:
        if request.authorization and user is None:
            return _error(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password")
        content = f"{(user or _ANYBODY).encode().hex()}.{int(time.time()) + _TOKEN_SECONDS}"
        token = f"{content}.{_sign(key, content)}"
        return Answer(HTTPStatus.OK, {"token": token, "access_token": token, "expires_in": _TOKEN_SECONDS})

    def _registry(self, request: Request, path: str, user: str | None, known: dict[str, Any]) -> Answer | None:
        name, _, rest = path.removeprefix("/v2/").partition("/blobs/")
        if rest:
            return self._blob(request, path, user, known) if user else None
        repository = name.partition("/manifests/")[0].partition("/tags/")[0]
        if user or (user == _ANYBODY and (not repository or repository.startswith(_PUBLIC))):
            return None
        scope = f',scope="repository:{repository}:pull"' if "/" in name else ""
        challenge = f'Bearer realm="{self._url}/auth/token",service="msr"{scope}'
        refused = _error(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
        version = ("Docker-Distribution-Api-Version", "registry/2.0")
        return Answer(refused.status, refused.body, (("WWW-Authenticate", challenge), version))

    def _blob(self, request: Request, path: str, user: str, known: dict[str, Any]) -> Answer | None:
        cache_id = known["settings"].get(user)
        if not cache_id or request.method not in ("GET", "HEAD"):
            return None
        if cache_id not in known["caches"]:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "NO_SUCH_CONTENT_CACHE", f"{user} points at no cache")
        ends = int(time.time()) + _TOKEN_SECONDS
        signed = f"{path}?expires={ends}&sign={_sign(known['key'], f'{path}.{ends}')}"
        return Answer(HTTPStatus.TEMPORARY_REDIRECT, None, (("Location", known["caches"][cache_id]["host"] + signed),))


def _content_caches(request: Request, path: str, user: str, known: dict[str, Any]) -> Answer:
    caches = known["caches"]
    id_ = path.removeprefix("/api/v0/content_caches").strip("/")
    if request.method != "GET" and user != ADMIN:
        return _error(HTTPStatus.FORBIDDEN, "NOT_AUTHORIZED", "the client is not authorized")
    match request.method, bool(id_):
        case "GET", False:
            return Answer(HTTPStatus.OK, list(caches.values()))
        case "GET", True:
            missing = _error(HTTPStatus.NOT_FOUND, "NO_SUCH_CONTENT_CACHE", f"no content cache {id_}")
            return Answer(HTTPStatus.OK, caches[id_]) if id_ in caches else missing
        case "DELETE", True:
            caches.pop(id_, None)
            return Answer(HTTPStatus.NO_CONTENT)
        case "POST", False:
            return _create(json.loads(request.body), caches)
        case _:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "the method is not allowed")


def _create(wanted: dict[str, Any], caches: dict[str, Any]) -> Answer:
    if set(wanted) != {"name", "host"} or not str(wanted["host"]).startswith("https://"):
        return _error(HTTPStatus.BAD_REQUEST, "INVALID_CONTENT_CACHE", "invalid content cache details")
    entry = {"id": str(uuid.uuid4()), **wanted}
    caches[entry["id"]] = entry
    return Answer(HTTPStatus.CREATED, entry)


def _settings(request: Request, path: str, user: str, known: dict[str, Any]) -> Answer:
    account = unquote(path.removeprefix("/api/v0/accounts/").removesuffix("/settings"))
    if user not in (ADMIN, account):
        return _error(HTTPStatus.FORBIDDEN, "NOT_AUTHORIZED", "the client is not authorized")
    if account not in PASSWORDS:
        return _error(HTTPStatus.NOT_FOUND, "NO_SUCH_USER", f"no user {account}")
    if request.method == "PATCH":
        wanted = json.loads(request.body).get("contentCacheUUID", "")
        if wanted and wanted not in known["caches"]:
            return _error(HTTPStatus.BAD_REQUEST, "INVALID_USER_SETTINGS", f"no content cache {wanted}")
        known["settings"][account] = wanted
    return Answer(HTTPStatus.OK, {"ContentCacheUUID": known["settings"].get(account, "")})


def failure(how: str) -> Answer:
    """What MSR answers while it is made to fail with status `how`."""
    status = HTTPStatus(int(how))
    said = {
        HTTPStatus.BAD_REQUEST: "x509: certificate signed by unknown authority",
        HTTPStatus.CONFLICT: "a content cache of this name exists",
    }
    return _error(status, status.name, said.get(status, status.phrase.lower()))


def _error(status: HTTPStatus, code: str, message: str) -> Answer:
    return Answer(status, {"errors": [{"code": code, "message": message}]})


def _sign(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
