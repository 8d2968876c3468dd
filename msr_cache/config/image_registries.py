"""Who may pull the caches' images: the logins of `msr-cache:imageRegistries`, and their form for the engine."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msr_cache.config import errors
from msr_cache.config.field_types import as_map, value_at
from msr_cache.refusal import Refusal

KEY = "imageRegistries"
_DOCKER_HUB = "docker.io"
Login = tuple[str, str]
"""A user, and the password or token."""


def registry_of(image: str) -> str:
    """Return the registry (host[:port]) in an image's name, as docker's client reads it (distribution/reference)."""
    first, slash, _ = image.partition("/")
    return first if slash and (re.search("[.:]", first) or first == "localhost") else _DOCKER_HUB


def login(registries: Mapping[str, Any], image: str) -> Login | None:
    """Return the login for an image's registry, if the config has one; Refusal if the file named there has not."""
    host = registry_of(image)
    entry = as_map(registries.get(host))
    if not entry.get("configFile"):
        return (entry["username"], entry["password"]) if entry else None
    try:
        return in_file(entry["configFile"], host)
    except ValueError as error:
        raise Refusal(f"msr-cache:{errors.dotted((KEY, host, 'configFile'))}: {error}") from None


def in_file(path: str, host: str) -> Login:
    """Return the login for `host` in a config.json of docker's client; ValueError if there is none."""
    try:
        config = json.loads(Path(path).expanduser().read_text("utf-8"))
        auth = value_at(config, "auths", "https://index.docker.io/v1/" if host == _DOCKER_HUB else host, "auth")
        username, _, password = base64.b64decode(str(auth or "")).decode().partition(":")
    except (OSError, ValueError, RuntimeError):
        username = password = ""
    if not username or not password:
        raise ValueError(
            f"found no login for {host} in {errors.quoted(path)}, expected one as `docker login {host}` writes it "
            "(auths, auth); it writes none if a credential helper (credsStore) keeps it: set username and password then"
        )
    return username, password


def header(registries: Mapping[str, Any], image: str) -> dict[str, str]:
    """Return the Engine API's header that lets it, or the nodes of its swarm, pull `image`."""
    if (found := login(registries, image)) is None:
        return {}
    text = json.dumps({"username": found[0], "password": found[1], "serveraddress": registry_of(image)})
    return {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}
