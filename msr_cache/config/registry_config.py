"""A cache's config.yml: rendered from its settings, checked against what the registry knows, shown without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from msr_cache.config import registry_schema
from msr_cache.config.errors import Mistake, mismatch
from msr_cache.config.field_types import as_map, depth, value_at
from msr_cache.config.registry_schema import MASK, mask_secrets
from msr_cache.config.settings import DEFAULT_STORAGE, Cache, GivenCa, Settings, Upstream

_Map = Mapping[str, Any]
SECRETS = "/run/secrets"
KEYS = {"blobTtl", "externalPort", "fqdn", "logLevel", "port", "upstreams"}
"""The keys of a cache that `render` reads, beside the maps `storage` and `registryConfig`."""
_OBJECT_STORES = {"azure", "gcs", "oss", "s3", "swift"}


def ca_file(settings: Settings, number: int, hop: Upstream) -> str | None:
    """Name of the secret that holds the CA of upstream `number`; None if the cache needs none to trust it.

    That of MSR's CA is MSR's documentation's: `dtr.cert.pem`, and `msr.cert.pem` from 3.x.
    """
    if hop.cache or isinstance(hop.ca, GivenCa):
        return f"upstream-{number}.pem"
    trusted = hop.ca or settings.msr.ca
    return f"{settings.msr.generation}.cert.pem" if hop.needs_ca and trusted != "system" else None


def render(settings: Settings, name: str, http_secret: str = MASK) -> dict[str, Any]:
    """Return config.yml of cache `name` (MSR cache configuration reference)."""
    cache = settings.caches[name]
    options: dict[str, Any] = {"blobttl": cache.blob_ttl, "upstreams": settings.upstreams_of(name)}
    files = (ca_file(settings, number, hop) for number, hop in enumerate(settings.next_hops(name)))
    if cas := [f"{SECRETS}/{file}" for file in dict.fromkeys(files) if file]:
        options["cas"] = cas
    return _config(
        log={"level": cache.log_level},
        storage=cache.storage,
        http={"addr": f"0.0.0.0:{cache.port}", "secret": http_secret, "host": cache.url},
        options=options,
        registry_config=cache.registry_config,
    )


def storage_of(cache: Cache) -> _Map:
    """Return `storage` as the operator has it: with registryConfig, and without what the program adds."""
    return as_map(_merged({"storage": cache.storage}, cache.registry_config).get("storage"))


def root_directory(storage: _Map) -> str | None:
    """Return where the registry keeps blobs in its container; None if it keeps them elsewhere."""
    if "filesystem" not in storage:
        return None
    return str({**DEFAULT_STORAGE["filesystem"], **as_map(storage["filesystem"])}["rootdirectory"])


def _config(*, log: _Map, storage: _Map, http: _Map, options: _Map, registry_config: _Map) -> dict[str, Any]:
    """Return config.yml, keys in the order of MSR's documentation, registryConfig merged over it."""
    config = {
        "version": 0.1,
        "log": log,
        "storage": {
            "delete": {"enabled": True},
            # A client of the cache may not reach the bucket.
            **({"redirect": {"disable": True}} if _OBJECT_STORES & storage.keys() else {}),
            **storage,
        },
        "http": {
            **http,
            # Without it the registry ends at once, in the middle of pulls and handshakes; a second less than the
            # service's stop_grace_period, which ends it in any case.
            "draintimeout": "9s",
            "tls": {"certificate": f"{SECRETS}/cache.cert.pem", "key": f"{SECRETS}/cache.key.pem"},
        },
        "middleware": {"registry": [{"name": "downstream", "options": options}]},
        # While the storage fails, every answer is 503, so that clients and load balancers see it.
        "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
    }
    return _merged(config, registry_config)


def _merged(base: _Map, over: _Map) -> dict[str, Any]:
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


def mistakes(raw: _Map) -> list[Mistake]:
    """Return what is wrong in `storage` and `registryConfig` of each cache, whatever else is wrong in `raw`."""
    return [
        Mistake(("caches", name, *path), text)
        for name, cache in as_map(raw.get("caches")).items()
        for path, text in _cache_mistakes(as_map(cache))
    ]


def _cache_mistakes(cache: _Map) -> list[Mistake]:
    given = {key: cache[key] for key in ("storage", "volume") if isinstance(cache.get(key), dict)}
    over = as_map(cache.get("registryConfig"))
    # What other keys add is either right or reported at those keys. Here, it only has to be there.
    config = _config(
        log={},
        storage=given.get("storage", DEFAULT_STORAGE),
        http={},
        options={"blobttl": "24h", "upstreams": ["https://msr"]},
        registry_config=over,
    )
    found = [*registry_schema.mistakes(config), *_volume_mistakes(cache, as_map(config.get("storage")))]
    return [
        Mistake(path if depth(given, path) > depth(over, path) else ("registryConfig", *path), text)
        for path, text in found
    ]


def _volume_mistakes(cache: _Map, storage: _Map) -> Iterator[Mistake]:
    root, others = root_directory(storage), sorted((_OBJECT_STORES | {"inmemory"}) & storage.keys())
    if cache.get("volume") and others:
        yield Mistake(
            ("volume",), f"found a volume with storage {others[0]}, expected storage filesystem, or no volume"
        )
    elif cache.get("volume") and root is not None and (not root.startswith("/") or root == "/"):
        text = mismatch(root, "an absolute path below /, because the volume is mounted there")
        yield Mistake(("storage", "filesystem", "rootdirectory"), text)
    shared = cache.get("volume") or _OBJECT_STORES & storage.keys()
    path = "cache", "blobdescriptor"
    if shared and cache.get("replicas", 1) not in (0, 1) and value_at(storage, *path) == "inmemory":
        # distribution issue 1356: it answers 200 with an empty body.
        text = "redis or none with several replicas: each would serve nothing for a blob that another has deleted"
        yield Mistake(("storage", *path), mismatch("inmemory", text))


def to_yaml(config: _Map) -> str:
    """Return the text of config.yml, keys in their order."""
    return yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=False)


def masked_yaml(config: _Map) -> str:
    """Return the text of config.yml without its secrets."""
    return to_yaml(mask_secrets(config))
