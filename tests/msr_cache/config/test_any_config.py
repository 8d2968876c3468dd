"""Whatever a stack's config says, it gives settings or lines for the operator, and no secret is in either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from msr_cache.config import plain_text, registry_config
from msr_cache.config.validation import read, validate
from msr_cache.preview import settings_of
from msr_cache.service import _amount
from tests.msr_cache.conftest import PROJECT, as_engine_gives

pytestmark = pytest.mark.usefixtures("secret_config")

CANARY = "hunter2"
S3 = {"region": "eu", "bucket": "b", "accesskey": CANARY, "secretkey": CANARY, "chunksize": 5242880, "encrypt": True}
REGISTRY_CONFIG: dict[str, Any] = {
    "log": {
        "level": "info",
        "hooks": [{"type": "mail", "levels": ["error"], "options": {"smtp": {"password": CANARY}}}],
    },
    "http": {
        "secret": CANARY,
        "addr": ":8443",
        "host": "https://cache.asia.example.com:8443",
        "headers": {"X-Frame-Options": ["deny"]},
        "tls": {"minimumtls": "tls1.2", "ciphersuites": ["TLS_AES_128_GCM_SHA256"]},
    },
    "redis": {"addr": "r:6379", "password": CANARY, "pool": {"maxidle": 1, "idletimeout": "1s"}},
    "notifications": {
        "endpoints": [{"url": f"https://a:{CANARY}@h", "headers": {"Authorization": [CANARY]}, "timeout": "1s"}]
    },
    "health": {"http": [{"uri": f"https://h?t={CANARY}", "interval": "1s", "statuscode": 200}]},
    "reporting": {"bugsnag": {"apikey": CANARY}},
    "storage": {"maintenance": {"uploadpurging": {"enabled": False}}, "cache": {"blobdescriptor": "redis"}},
    "middleware": {
        "registry": [
            {"name": "downstream", "options": {"upstreams": ["https://msr"], "blobttl": "24h"}},
            {"name": "own", "options": {"token": CANARY}},
        ]
    },
}
CONFIG: dict[str, Any] = {
    "msr": {
        "url": "https://msr.example.com",
        "version": "2.9",
        "ca": {"sha256": "0a" * 32},
        "user": "a",
        "token": CANARY,
    },
    "swarm": {"host": "ssh://ops@manager-1.example.com"},
    "stateId": "a0b1c2d3e4f5",
    "caches": {
        "asia": {
            "fqdn": "cache.asia.example.com",
            "nodes": ["worker-7"],
            "port": 8443,
            "replicas": 1,
            "image": "mirantis/dtr-content-cache:2.9.0",
            "blobTtl": "24h",
            "storage": {"s3": S3},
            "tls": {"source": "selfSigned", "sans": ["lb.example.com"], "validityDays": 365, "renewDays": 30},
            "upstreams": ["https://msr.example.com"],
            "resources": {"limits": {"cpus": 0.5, "memory": "512m"}, "reservations": {"cpus": "0.5"}},
            "update": {"order": "stop-first", "monitor": "5s"},
            "registerInMsr": {"users": ["alice"], "adopt": False},
            "verify": "pull",
            "registryConfig": REGISTRY_CONFIG,
        }
    },
}
"""Every kind of key, with CANARY as each secret."""

Path = tuple[str | int, ...]


def paths(config: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of everything in `config`."""
    for key, inner in (
        config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    ):
        yield (*path, key)
        yield from paths(inner, (*path, key))


# Halves of what the keys take, so that the checks see what is nearly right, too.
PIECES = [
    "https://",
    "ssh://",
    "@",
    ":",
    "/",
    "%",
    "\n",
    "\x1b[2K",
    "0",
    "٣",
    "9" * 30,
    "h",
    "µs",
    "g",
    "[",
    "::1",
    "a",
    ".",
    "-",
]
TEXTS = st.text(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**30) | TEXTS
KEYS = st.sampled_from(sorted({str(part) for path in paths(CONFIG) for part in path})) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
# Or what is there, in the wrong place: a secret, too.
MOVES: list[Callable[[Any], Any]] = [lambda old: [old], lambda old: {"x": old}, lambda old: [[old]], str]
CHANGES = VALUES.map(lambda value: lambda _: value) | st.sampled_from(MOVES)


def changed(changes: list[tuple[Path, Callable[[Any], Any]]]) -> dict[str, Any]:
    config: Any = deepcopy(CONFIG)
    for (*above, last), change in changes:
        place = config
        for part in above:
            known = part in place if isinstance(place, dict) else isinstance(place, list) and part in range(len(place))
            place = place[part] if known else None
        if isinstance(place, dict) or (isinstance(place, list) and last in range(len(place))):
            place[last] = change(place.get(last) if isinstance(place, dict) else place[last])  # type: ignore[index]
    found: dict[str, Any] = config
    return found


CONFIGS = st.lists(st.tuples(st.sampled_from(list(paths(CONFIG))), CHANGES), max_size=3).map(changed)


def shown(config: dict[str, Any]) -> list[str]:
    """Return the lines of all mistakes; if there are none, all that the settings become and anybody may see."""
    raw = read(as_engine_gives(config), PROJECT)
    settings, found = validate(raw)
    found += [*registry_config.mistakes(raw), *plain_text.mistakes(raw, {}, PROJECT)]
    if settings is None or found:
        lines = [each.line(PROJECT) for each in found]
        assert all(line.replace("\t", " ").isprintable() for line in lines)
        return lines
    for name, cache in settings.caches.items():
        registry = registry_config.render(settings, name)
        assert yaml.safe_load(registry_config.to_yaml(registry))
        assert _amount(cache.resources.limits)["nano_cpus"] < 1 << 63
        masked = registry_config.masked_yaml(registry)
        return [masked, str(settings_of(settings, name)), *settings.warnings()]
    raise AssertionError("no cache")


def test_the_config_that_is_changed_is_right() -> None:
    assert "blobttl: 24h" in shown(CONFIG)[0]


@given(CONFIGS)
def test_any_change_gives_settings_or_lines_and_shows_no_secret(config: dict[str, Any]) -> None:
    lines = shown(config)
    assert lines
    assert CANARY not in "".join(lines)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@example({"[key]": None})
def test_any_config_at_all_gives_lines(config: dict[str, Any]) -> None:
    assert all(line.startswith(f"{PROJECT}:") for line in shown(config))
