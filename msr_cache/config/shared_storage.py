"""Finds caches of a stack that would keep their blobs in one place.

Each would delete what the other has stored, when its own blobTtl ends, and both would write one scheduler-state.json
(distribution 2.8, registry/proxy/proxyregistry.go). Replicas of one cache may do that: they have one blobTtl.
"""

from collections.abc import Iterator
from itertools import combinations
from posixpath import normpath

from msr_cache.config.errors import Mistake, mismatch
from msr_cache.config.field_types import as_map
from msr_cache.config.registry_config import storage_of
from msr_cache.config.settings import Cache, Settings

_IDENTITY = {
    "azure": ("accountname", "container"),
    "gcs": ("bucket", "rootdirectory"),
    "oss": ("bucket", "rootdirectory"),
    "s3": ("regionendpoint", "bucket", "rootdirectory"),
    "swift": ("authurl", "container", "prefix"),
}
"""What tells one store from another; the last part is what a cache can have for its own."""
_ON_EVERY_NODE = ("nfs", "nfs4", "cifs")
_Place = tuple[tuple[str, ...], tuple[str, ...], list[str]]
"""The key, what names the place, and the nodes that have it: none if it is the same from everywhere."""


def mistakes(settings: Settings) -> Iterator[Mistake]:
    """Yield each cache whose place an earlier cache has."""
    found = [(name, place) for name, cache in settings.caches.items() if (place := _place(cache))]
    for (first, (_, one, here)), (name, (path, other, there)) in combinations(found, 2):
        if one == other and (not here or set(here) & set(there)):
            own = {"nfs": "path", "bind": "folder", "driver": "device"}.get(path[-1]) or _IDENTITY[path[-1]][-1]
            text = f"another {own}: cache {first} keeps its blobs there, and each would delete what the other stores"
            yield Mistake(("caches", name, *path), mismatch(" ".join(filter(None, other[1:])), text))


def _place(cache: Cache) -> _Place | None:
    if (volume := cache.volume) and (nfs := volume.nfs):
        return ("volume", "nfs"), ("nfs", f"{nfs.server.lower()}:{normpath(nfs.path)}"), []
    if volume and volume.bind:
        return ("volume", "bind"), ("bind", normpath(volume.bind)), cache.nodes
    if volume and (driver := volume.driver):
        # The engine makes a volume for each cache, which is another place unless the options name a device.
        options, nodes = driver.options, [] if driver.options.get("type") in _ON_EVERY_NODE else cache.nodes
        named = options.get("device") and options.get("type") != "tmpfs"
        parts = ("driver", driver.name, *(f"{key}={value}" for key, value in sorted(options.items())))
        return (("volume", "driver"), parts, nodes) if named else None
    storage = storage_of(cache)
    for store in _IDENTITY.keys() & storage.keys():
        parts = (store, *(str(as_map(storage[store]).get(key) or "").strip("/") for key in _IDENTITY[store]))
        return (*(() if store in cache.storage else ("registryConfig",)), "storage", store), parts, []
    return None
