"""What somebody changes by hand is seen by `preview --refresh` and mended by `up --refresh`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import images
from lab.site import Site
from tests.end_to_end.conftest import lifetime
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

SERVICE = f"{CACHE}_cache"
LABEL = "dtr.cache"


@pytest.fixture(scope="module")
def deployed(site: Site, tmp_path_factory: pytest.TempPathFactory, plugins: str) -> Iterator[Stack]:
    """One cache for the whole module: each drift is mended before the next."""
    stack = Stack(tmp_path_factory.mktemp("drift") / "stack", site, plugins)
    for given in lifetime(stack):
        stack.deploy()
        yield given


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


def remove_service(swarm: Swarm) -> None:
    swarm.docker("service", "rm", SERVICE)


def spec(swarm: Swarm) -> dict[str, Any]:
    """Return the service's spec without the ids and order of its files, which differ once a file was made again."""
    found: dict[str, Any] = swarm.inspect("service", SERVICE)["Spec"]
    files = found["TaskTemplate"]["ContainerSpec"]["Secrets"]
    for file in files:
        del file["SecretID"]
    files.sort(key=lambda file: str(file["SecretName"]))
    return found


DRIFTS: dict[Callable[[Swarm], None], set[str]] = {
    change_all: {"NodeLabel", "Service"},
    remove_label_and_files: {"NodeLabel", "Service", "SwarmSecret"},
    remove_service: {"Service"},
}


@pytest.mark.parametrize("change", DRIFTS)
def test_drift_is_seen_and_mended(deployed: Stack, swarm: Swarm, change: Callable[[Swarm], None]) -> None:
    before = spec(swarm)
    change(swarm)
    if change is remove_service:
        assert f"warning: service {SERVICE} is gone: run pulumi up --refresh\n" in deployed.preview().text
    shown = deployed.must(deployed.preview(refresh=True))
    assert DRIFTS[change] <= shown.changed(), shown.text
    deployed.deploy(refresh=True)
    assert spec(swarm) == before
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))
    assert deployed.pull().blobs
