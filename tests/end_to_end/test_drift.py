"""What somebody changes by hand is seen by `preview --refresh` and mended by `up --refresh`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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


def unmount_and_remove(swarm: Swarm, part: str) -> None:
    name = next(name for name in swarm.names("secret") if name.startswith(f"{CACHE}_{part}-"))
    # The crashing task that this gives is not waited for.
    swarm.docker("service", "update", "--detach", "--secret-rm", name, SERVICE)
    swarm.docker("secret", "rm", name)


DRIFTS: dict[str, tuple[Callable[[Swarm], object], str]] = {
    "label removed": (
        lambda swarm: swarm.docker("node", "update", "--label-rm", LABEL, swarm.site.engine.name),
        "NodeLabel",
    ),
    "label set to another value": (
        lambda swarm: swarm.docker("node", "update", "--label-add", f"{LABEL}=no", swarm.site.engine.name),
        "NodeLabel",
    ),
    "service's environment": (
        lambda swarm: swarm.docker("service", "update", "--detach", "--env-add", "HAND=1", SERVICE),
        "Service",
    ),
    "service's image": (
        lambda swarm: swarm.docker(
            "service", "update", "--detach", "--image", swarm.site.image(images.OTHER_TAG), SERVICE
        ),
        "Service",
    ),
    "service's replicas": (
        lambda swarm: swarm.docker("service", "update", "--detach", "--replicas", "0", SERVICE),
        "Service",
    ),
    "service's constraint": (
        lambda swarm: swarm.docker(
            "service", "update", "--detach", "--constraint-add", "node.role == manager", SERVICE
        ),
        "Service",
    ),
    "service removed": (lambda swarm: swarm.docker("service", "rm", SERVICE), "Service"),
    "config.yml gone": (lambda swarm: unmount_and_remove(swarm, "config.yml"), "SwarmSecret"),
    "certificate gone": (lambda swarm: unmount_and_remove(swarm, "cache.cert.pem"), "SwarmSecret"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_seen_and_mended(deployed: Stack, swarm: Swarm, drift: str) -> None:
    change, seen_in = DRIFTS[drift]
    change(swarm)
    if drift == "service removed":
        assert f"warning: service {SERVICE} is gone: run pulumi up --refresh\n" in deployed.preview().text
    shown = deployed.must(deployed.preview(refresh=True))
    assert seen_in in shown.changed(), shown.text
    deployed.deploy(refresh=True)
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))
    assert deployed.pull().blobs
