"""Behind Mirantis Kubernetes Engine, which adds labels and constraints to each service, a cache is repaired as well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.site import Site
from tests.conftest import stand_ins_only
from tests.end_to_end.middleman import NODE_LABELS, Mke
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"


@pytest.fixture
def mke(site: Site, swarm: Swarm) -> Iterator[Mke]:
    swarm.docker("node", "update", *(f"--label-add={label}=true" for label in NODE_LABELS), site.engine.name)
    with Mke(site.run / "mke.sock", site.engine.docker_host) as between:
        yield between
    swarm.docker("node", "update", *(f"--label-rm={label}" for label in NODE_LABELS), site.engine.name)


def test_behind_mke_a_refresh_restarts_nothing_and_drift_is_repaired(mke: Mke, stack: Stack, swarm: Swarm) -> None:
    """pulumi-docker would replace the service to remove the labels that MKE adds to its tasks."""
    stack.configure(swarm={"host": mke.host})
    stack.deploy()
    if not stand_ins_only():  # they see at once what the real plugin sees in a refresh
        stack.must(stack.preview(expect_no_changes=True))
    tasks = swarm.task_ids(SERVICE)
    assert stack.deploy(refresh=True).changed() == {"Service"}
    assert swarm.task_ids(SERVICE) == tasks
    swarm.docker("service", "update", "--detach", "--env-add", "HAND=1", SERVICE)
    stack.configure({"blobTtl": "36h"}, swarm={"host": mke.host})
    stack.deploy(refresh=True)
    spec = swarm.inspect("service", SERVICE)["Spec"]
    assert not spec["TaskTemplate"]["ContainerSpec"].get("Env")
    assert spec["Labels"]["com.docker.ucp.collection"] == "swarm"
    assert stack.pull().blobs
