"""Settings to the cache's config.yml, checked against what the registry knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from msr_cache.config import errors
from msr_cache.config.registry_schema import RegistryConfig, mask_secrets
from msr_cache.config.settings import Settings, as_map

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRETS = "/run/secrets"
_SECRET_PLACE = "[secret]"  # noqa: S105 - what a person reads instead of one


def ca_file(settings: Settings) -> str:
    """Name of the secret that holds MSR's CA (`dtr.cert.pem`, `msr.cert.pem` from 3.x)."""
    return f"{settings.msr.generation}.cert.pem"


def render(settings: Settings, name: str, http_secret: str = _SECRET_PLACE) -> dict[str, Any]:
    """Return config.yml of cache `name` (MSR cache configuration reference), registryConfig merged over it."""
    cache = settings.caches[name]
    options: dict[str, Any] = {"blobttl": cache.blob_ttl, "upstreams": settings.upstreams_of(name)}
    if settings.msr.ca != "system":
        options["cas"] = [f"{SECRETS}/{ca_file(settings)}"]
    seed = {
        "version": 0.1,
        "log": {"level": cache.log_level},
        "storage": {"delete": {"enabled": True}, **cache.storage},
        "http": {
            "addr": f"0.0.0.0:{cache.port}",
            "secret": http_secret,
            "host": cache.url,
            # Without it the registry ends at once, in the middle of pulls and handshakes; a second less than the
            # service's stop_grace_period, which is the end of it anyway.
            "draintimeout": "9s",
            "tls": {"certificate": f"{SECRETS}/cache.cert.pem", "key": f"{SECRETS}/cache.key.pem"},
        },
        "middleware": {"registry": [{"name": "downstream", "options": options}]},
    }
    return _merged(seed, cache.registry_config)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are merged key by key, everything else is replaced; null removes a key."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def mistakes(raw: Mapping[str, Any]) -> list[str]:
    """One line per key or value of a cache's config.yml that the registry would ignore or refuse.

    `raw` may hold mistakes of every other kind: they hide none of these.
    """
    return [line for name, cache in as_map(raw.get("caches")).items() for line in _mistakes(name, as_map(cache))]


def _mistakes(name: str, cache: Mapping[str, Any]) -> list[str]:
    over, storage = as_map(cache.get("registryConfig")), cache.get("storage")
    # What comes from other keys is right whenever these are, and told at them when not: any right ones will do.
    others: dict[str, Any] = {"fqdn": "cache", "nodes": ["node"], "registryConfig": over}
    if isinstance(storage, dict):
        others["storage"] = storage
    facts = {"msr": {"url": "https://msr"}, "swarm": {"context": "swarm"}, "caches": {"cache": others}}
    try:
        RegistryConfig.model_validate(render(Settings.model_validate(facts), "cache"))
    except ValidationError as error:
        return [
            f"msr-cache:caches.{name}.{_where_it_was_written(line.removeprefix('.'), over)}"
            for line in errors.lines(error, RegistryConfig, "")
        ]
    return []


def _where_it_was_written(line: str, over: Mapping[str, Any]) -> str:
    """Lead a line about config.yml to the operator's own key: `storage` where that, not registryConfig, says it."""
    section, _, rest = line.partition(": ")[0].partition(".")
    driver = rest.partition(".")[0]
    theirs = over.get("storage", {})
    overrides = driver in theirs if driver and isinstance(theirs, dict) else theirs != {}
    return f"registryConfig.{line}" if section != "storage" or overrides else line


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return config.yml's text, keys in the order of the seed."""
    return yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=False)


def masked_yaml(config: Mapping[str, Any]) -> str:
    """Return config.yml's text as a person may see it."""
    return to_yaml(mask_secrets(config))
