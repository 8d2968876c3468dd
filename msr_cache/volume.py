"""Where a cache's blobs outlive its tasks: the mount of its service, and what `destroy` leaves behind."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from msr_cache.config.registry_config import root_directory, storage_of
from msr_cache.config.settings import Driver, Settings, Volume


def mounts(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Return docker.Service's mounts for cache `name`, with each field that the daemon fills in."""
    cache = settings.caches[name]
    volume = cache.volume
    if volume is None:
        return []
    mount: dict[str, Any] = {"target": root_directory(storage_of(cache)), "read_only": False}
    if volume.bind:
        return [{**mount, "type": "bind", "source": volume.bind, "bind_options": {"propagation": "rprivate"}}]
    driver, driver_options = _driver(volume)
    # Without no_copy, the engine copies the image's folder into an empty volume, as each node mounts it.
    options = {"no_copy": True, "driver_name": driver, "driver_options": driver_options}
    return [{**mount, "type": "volume", "source": _volume_name(name, volume), "volume_options": options}]


def place(settings: Settings, name: str) -> str | None:
    """Return where the blobs of cache `name` are, for an operator to read; None if they go with its tasks."""
    volume = settings.caches[name].volume
    if volume is None:
        return None
    if volume.nfs:
        return f"{volume.nfs.server}:{volume.nfs.path}"
    nodes = f"on each of {', '.join(settings.caches[name].nodes)}"
    return f"{volume.bind} {nodes}" if volume.bind else f"docker volume {_volume_name(name, volume)} {nodes}"


def warnings(settings: Settings) -> Iterator[str]:
    """Yield which caches keep the same blob several times."""
    for name, cache in settings.caches.items():
        storage, volume = storage_of(cache), cache.volume
        # A folder or a driver of the operator's own may be shared: only the operator knows.
        shared = volume and (volume.nfs or volume.bind or _driver(volume) != ("local", {}))
        if cache.replicas > 1 and not shared and storage.keys() & {"filesystem", "inmemory"}:
            holds = "the tasks of one node share the node's volume" if volume else "and a new task begins with none"
            yield (
                f"msr-cache:caches.{name}.storage: {cache.replicas} replicas without shared storage. Each holds only "
                f"the blobs that its own clients fetched, so MSR sends a blob once to each; {holds}. "
                "Set volume.nfs, or an object store as `storage`"
            )


def _driver(volume: Volume) -> tuple[str, dict[str, str]]:
    """Return the engine's volume driver and its options."""
    if nfs := volume.nfs:
        return "local", {"type": "nfs", "o": f"addr={nfs.server},{nfs.options}", "device": f":{nfs.path}"}
    driver = volume.driver or Driver(name="local")
    return driver.name, driver.options


def _volume_name(name: str, volume: Volume) -> str:
    """Return a name that changes with the options: the engine takes an existing volume with its old ones."""
    digest = hashlib.sha256(json.dumps(_driver(volume), sort_keys=True).encode()).hexdigest()
    return f"{name}_storage-{digest[:10]}"
