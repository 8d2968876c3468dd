"""Both engines lead the program through the same life: operations, states and objects in the swarm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.site import Site
from tests.conftest import HAS_PULUMI
from tests.end_to_end.stack import CACHE, PORT, Engine, RealEngine, RehearsalEngine, Run, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [
    pytest.mark.swarm,
    pytest.mark.engine,
    pytest.mark.skipif(not HAS_PULUMI, reason="needs Pulumi's CLI, which is not on PATH"),
]

Step = Callable[[Stack, Swarm], Run]


def configured(**cache: Any) -> Step:
    def step(stack: Stack, _: Swarm) -> Run:
        stack.configure(cache | ({"image": stack.site.crash_image} if cache.get("image") else {}))
        return stack.up()

    return step


def without_label(stack: Stack, swarm: Swarm) -> Run:
    swarm.docker("node", "update", "--label-rm", "dtr.cache", stack.site.node_name)
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
    "another key": configured(blobTtl="36h", port=PORT + 1, tls={"keyType": "ecdsaP256"}),
    "label lost": without_label,
    "service lost": without_service,
    "destroy": lambda stack, _: stack.destroy(),
}


def lived(site: Site, folder: Path, engine: Engine) -> dict[str, Any]:
    """Return what each step of the life did and left."""
    stack, swarm = Stack(folder / engine.name, site, engine), Swarm(site)
    found = {}
    for name, step in LIFE.items():
        run = step(stack, swarm)
        found[name] = {
            "ok": run.ok,
            "operations": sorted(run.operations),
            "state": {urn(resource): outline(resource) for resource in stack.resources()},
            "swarm": {kind: sorted(map(without_hash, names)) for kind, names in swarm.listing().items()},
        }
    return found


def urn(resource: dict[str, Any]) -> str:
    return str(resource["urn"])


def outline(resource: dict[str, Any]) -> dict[str, Any]:
    """Return what must be alike: not the values, which each engine makes its own of."""
    return {
        "type": resource["type"],
        "parent": resource.get("parent", ""),
        "dependencies": sorted(resource.get("dependencies") or []),
        "inputs": sorted(key for key in resource.get("inputs") or {} if not key.startswith("__")),
    }


def without_hash(name: str) -> str:
    return re.sub(r"-[0-9a-f]{10}$", "", name)


@pytest.mark.timeout(600)
def test_both_engines_do_the_same_at_each_step_and_leave_the_same(site: Site, tmp_path: Path) -> None:
    pulumis, rehearsed = (lived(site, tmp_path, engine) for engine in (RealEngine(), RehearsalEngine()))
    for step in LIFE:
        # Where a step fails, how much of what does not hang on it is still done is a matter of time.
        for what in ("ok", "swarm", *(("state", "operations") if pulumis[step]["ok"] else ())):
            assert rehearsed[step][what] == pulumis[step][what], f"{step}: {what}"
