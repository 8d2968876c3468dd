"""The stand-ins lead a stack through the same life as the real plugins: operations, states and objects in the swarm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import images
from lab.site import Site
from tests.conftest import stand_ins_only
from tests.end_to_end.stack import CACHE, INSTALLED, PORT, STAND_INS, Run, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [
    pytest.mark.swarm,
    pytest.mark.engine,
    pytest.mark.skipif(stand_ins_only(), reason="the real plugins can't be installed here"),
]

Step = Callable[[Stack, Swarm], Run]


def configured(**cache: Any) -> Step:
    def step(stack: Stack, _: Swarm) -> Run:
        stack.configure(cache | ({"image": stack.site.image(images.CRASH_TAG)} if cache.get("image") else {}))
        return stack.up()

    return step


def without_label(stack: Stack, swarm: Swarm) -> Run:
    swarm.docker("node", "update", "--label-rm", "dtr.cache", stack.site.engine.name)
    return stack.up(refresh=True)


def without_service(stack: Stack, swarm: Swarm) -> Run:
    swarm.docker("service", "rm", f"{CACHE}_cache")
    return stack.up(refresh=True)


LIFE: dict[str, Step] = {
    "preview of the first up": lambda stack, _: stack.preview(),
    "first up": lambda stack, _: stack.up(),
    "up without a change": lambda stack, _: stack.up(),
    "blobTtl": configured(blobTtl="36h"),
    "port": configured(blobTtl="36h", port=PORT + 1),
    "an image that crashes": configured(blobTtl="36h", port=PORT + 1, image="crash"),
    "back again": configured(blobTtl="36h", port=PORT + 1),
    "another key": configured(blobTtl="36h", port=PORT + 1, tls={"keyType": "rsa2048"}),
    "label lost": without_label,
    "service lost": without_service,
    "destroy": lambda stack, _: stack.destroy(),
}


def lived(site: Site, folder: Path, plugins: str) -> dict[str, Any]:
    """Return what each step of the life did and left."""
    stack, swarm = Stack(folder / plugins.split(maxsplit=1)[0], site, plugins), Swarm(site)
    found = {}
    for name, step in LIFE.items():
        run = step(stack, swarm)
        found[name] = {
            "ok": run.ok,
            "operations": sorted(run.operations),
            "state": {resource["urn"]: outline(resource) for resource in stack.resources()},
            "swarm": {kind: sorted(map(without_hash, names)) for kind, names in swarm.listing().items()},
        }
    return found


def outline(resource: dict[str, Any]) -> dict[str, Any]:
    """Return what must be alike: not ids, keys, certificates and hashes of these, which each life makes its own of."""
    return {
        "type": resource["type"],
        "parent": resource.get("parent", ""),
        "dependencies": sorted(resource.get("dependencies") or []),
        "propertyDependencies": {
            name: sorted(urns) for name, urns in (resource.get("propertyDependencies") or {}).items() if urns
        },
        "inputs": alike(resource.get("inputs") or {}),
        "secret outputs": sorted(name for name, value in (resource.get("outputs") or {}).items() if is_secret(value)),
    }


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and "ciphertext" in value


def alike(value: Any) -> Any:
    if is_secret(value):
        return "a secret"
    if isinstance(value, dict):
        return {name: alike(item) for name, item in value.items() if name not in ("__defaults", "__provider")}
    if isinstance(value, list):
        return [alike(item) for item in value]
    return MADE.sub("...", value) if isinstance(value, str) else value


MADE = re.compile(r"-----BEGIN[^\0]*|\b([0-9a-f]{10,}|[0-9a-z]{25})\b|\d{4}-\d\d-\d\dT[\d:.]+Z")
"""Certificates, hashes and fingerprints, ids of the swarm's objects, times."""


def without_hash(name: str) -> str:
    return re.sub(r"-[0-9a-f]{10}$", "", name)


def test_at_each_step_the_same_is_done_and_the_same_is_left(site: Site, tmp_path: Path) -> None:
    real, stood_in = (lived(site, tmp_path, plugins) for plugins in (INSTALLED, STAND_INS))
    for step in LIFE:
        # Where a step fails, how much of what does not hang on it is still done is a matter of time.
        for what in ("ok", "swarm", *(("state", "operations") if real[step]["ok"] else ())):
            assert stood_in[step][what] == real[step][what], f"{step}: {what}"
