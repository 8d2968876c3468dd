"""What somebody changes by hand is seen by `preview --refresh` and repaired by `up --refresh`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab import images
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

SERVICE = f"{CACHE}_cache"
LABEL = "dtr.cache"


def change_all(swarm: Swarm) -> None:
    swarm.docker("node", "update", "--label-add", f"{LABEL}=no", swarm.site.engine.name)
    changes = ("--env-add", "HAND=1", "--replicas", "0", "--constraint-add", "node.role == manager")
    image = swarm.site.image(images.OTHER_TAG)
    swarm.docker("service", "update", "--detach", *changes, "--image", image, SERVICE)


def remove_label_and_files(swarm: Swarm) -> None:
    swarm.docker("node", "update", "--label-rm", LABEL, swarm.site.engine.name)
    for part in ("config.yml", "cache.cert.pem"):
        name = next(name for name in swarm.names("secret") if name.startswith(f"{CACHE}_{part}-"))
        # The crashing task that this gives is not waited for.
        swarm.docker("service", "update", "--detach", "--secret-rm", name, SERVICE)
        swarm.docker("secret", "rm", name)


def remove_stack(swarm: Swarm) -> None:
    swarm.docker("stack", "rm", CACHE)


def spec(swarm: Swarm) -> dict[str, Any]:
    """Return the service's spec without the ids and order of its files, which differ once a file was made again."""
    found: dict[str, Any] = swarm.inspect("service", SERVICE)["Spec"]
    files = found["TaskTemplate"]["ContainerSpec"]["Secrets"]
    for file in files:
        del file["SecretID"]
    files.sort(key=lambda file: str(file["SecretName"]))
    return found


DRIFTS: dict[Callable[[Swarm], None], tuple[list[str], set[str]]] = {
    change_all: (
        commands("docs/recover.md", "The cache does not run as configured, but the state is correct"),
        {"NodeLabel", "Service"},
    ),
    remove_label_and_files: (
        commands("docs/recover.md", "A service, config, secret or label was changed by hand"),
        {"NodeLabel", "Service", "SwarmSecret"},
    ),
    remove_stack: (
        commands("docs/recover.md", "`docker stack rm asia` removed everything but the label"),
        {"Service", "SwarmSecret"},
    ),
}


def test_each_drift_is_seen_and_repaired(stack: Stack, swarm: Swarm) -> None:
    stack.deploy()
    before = spec(swarm)
    for change, ((look, *repair), changed) in DRIFTS.items():
        change(swarm)
        if change is remove_stack:
            assert f"warning: service {SERVICE} is gone: run pulumi up --refresh\n" in stack.preview().text
        shown = typed(stack, [look])
        assert changed <= shown.changed(), shown.text
        typed(stack, repair)
        assert spec(swarm) == before
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    assert stack.pull().blobs
