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

import fcntl
import json
import re
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask, Response, abort, g, make_response, redirect, request
from itsdangerous import BadData, Signer, URLSafeTimedSerializer
from werkzeug.wrappers import Response as AnyResponse

ADMIN = "admin"
PASSWORDS = {
    ADMIN: "lab-password-of-admin-5d1c",
    "alice": "lab-password-of-alice-90ab",
    "bob": "lab-password-of-bob-77e3",
}
ACCESS_TOKENS = {ADMIN: "lab-access-token-of-admin-c0ffee"}
_PUBLIC = "library/"
"""Repositories that anybody may pull from; every account may pull from all others."""
_SECONDS = 300
"""How long a token is good for, and the URL of a blob."""
_ANYBODY = ""
_KEY = secrets.token_hex()
_TOKENS = URLSafeTimedSerializer(_KEY)
_CACHES = "/api/v0/content_caches"


@contextmanager
def book(file: Path) -> Iterator[dict[str, Any]]:
    """Give what MSR remembers: `caches` (by id) and `settings` (a cache's id by account); what is changed is kept.

    The front and its operator may change it at the same time.
    """
    with file.open("a+") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        before = kept.read()
        known = json.loads(before) if before else {"caches": {}, "settings": {}}
        yield known
        if (after := json.dumps(known)) != before:
            kept.truncate(0)
            kept.write(after)


class _App(Flask):
    """Gives each call `g.user`, who asks, and `g.known`, the open book, which is in `config["FOLDER"]`."""

    def dispatch_request(self) -> Any:  # noqa: ANN401 - whatever a view returns
        with book(self.config["FOLDER"] / "book.json") as g.known:
            g.user = _user()
            return super().dispatch_request()


app = _App(__name__)


def refuse(status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None) -> NoReturn:
    """End the request with an error as MSR words it."""
    abort(make_response({"errors": [{"code": code, "message": message}]}, status, headers))


def _user() -> str | None:
    """The account that sent the request; _ANYBODY with an anonymous token, None with nothing that is right."""
    login = request.authorization
    if login and login.type == "basic":
        secret, name = login.password, str(login.username)
        return name if secret and secret in (PASSWORDS.get(name), ACCESS_TOKENS.get(name)) else None
    if login and login.type == "bearer":
        with suppress(BadData):
            return str(_TOKENS.loads(str(login.token), max_age=_SECONDS))
    return None


def _allow(*accounts: str) -> None:
    """Refuse who is not logged in, and whoever is none of `accounts` if there are any."""
    if not g.user:
        refuse(HTTPStatus.UNAUTHORIZED, "NOT_AUTHENTICATED", "the client is not authenticated")
    if accounts and g.user not in accounts:
        refuse(HTTPStatus.FORBIDDEN, "NOT_AUTHORIZED", "the client is not authorized")


@app.get("/auth/token")
def _token() -> dict[str, object]:
    if request.authorization and g.user is None:
        refuse(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password")
    token = _TOKENS.dumps(g.user or _ANYBODY)
    return {"token": token, "access_token": token, "expires_in": _SECONDS}


def redirected(path: str) -> AnyResponse | None:
    """Return where a pull of `path`, below /v2/, is sent; None where MSR's registry is to answer, if it may."""
    repository, *reference = re.split(r"/(?:blobs|manifests|tags)/", path)
    if "/blobs/" in path:
        return _to_cache() if g.user and request.method in ("GET", "HEAD") else None
    if not g.user and not (g.user == _ANYBODY and (not path or path.startswith(_PUBLIC))):
        scope = f',scope="repository:{repository}:pull"' if reference else ""
        challenge = f'Bearer realm="{request.host_url}auth/token",service="msr"{scope}'
        headers = {"WWW-Authenticate": challenge, "Docker-Distribution-Api-Version": "registry/2.0"}
        refuse(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "authentication required", headers)
    return None


def _to_cache() -> AnyResponse | None:
    if not (id_ := g.known["settings"].get(g.user)):
        return None
    if id_ not in g.known["caches"]:
        refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "NO_SUCH_CONTENT_CACHE", f"{g.user} points at no cache")
    ends = int(time.time()) + _SECONDS
    sign = Signer(_KEY).get_signature(f"{request.path}.{ends}").decode()
    url = f"{g.known['caches'][id_]['host']}{request.path}?expires={ends}&sign={sign}"
    return redirect(url, HTTPStatus.TEMPORARY_REDIRECT)


@app.get(_CACHES)
def _caches() -> list[object]:
    _allow()
    return list(g.known["caches"].values())


@app.get(f"{_CACHES}/<id_>")
def _cache(id_: str) -> dict[str, str]:
    _allow()
    absent = f"no content cache {id_}"
    found: dict[str, str] = g.known["caches"].get(id_) or refuse(HTTPStatus.NOT_FOUND, "NO_SUCH_CONTENT_CACHE", absent)
    return found


@app.delete(f"{_CACHES}/<id_>")
def _delete(id_: str) -> Response:
    _allow(ADMIN)
    g.known["caches"].pop(id_, None)
    return Response(status=HTTPStatus.NO_CONTENT)


@app.post(_CACHES)
def _create() -> tuple[dict[str, str], HTTPStatus]:
    _allow(ADMIN)
    wanted = request.get_json(force=True)
    if set(wanted) != {"name", "host"} or not str(wanted["host"]).startswith("https://"):
        refuse(HTTPStatus.BAD_REQUEST, "INVALID_CONTENT_CACHE", "invalid content cache details")
    id_ = str(uuid.uuid4())
    g.known["caches"][id_] = {"id": id_, **wanted}
    return g.known["caches"][id_], HTTPStatus.CREATED


@app.route("/api/v0/accounts/<account>/settings", methods=["GET", "PATCH"])
def _settings(account: str) -> dict[str, str]:
    _allow(ADMIN, account)
    if account not in PASSWORDS:
        refuse(HTTPStatus.NOT_FOUND, "NO_SUCH_USER", f"no user {account}")
    if request.method == "PATCH":
        wanted = request.get_json(force=True).get("contentCacheUUID", "")
        if wanted and wanted not in g.known["caches"]:
            refuse(HTTPStatus.BAD_REQUEST, "INVALID_USER_SETTINGS", f"no content cache {wanted}")
        g.known["settings"][account] = wanted
    return {"ContentCacheUUID": g.known["settings"].get(account, "")}
