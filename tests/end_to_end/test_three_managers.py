"""Three managers: the one that leads may die in the middle of an `up`, which goes on through another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from lab import images
from lab.engine import Engine
from lab.process import wait_until
from lab.site import Site
from msr_cache.refusal import Refusal
from msr_cache.rollout import convergence
from msr_cache.swarm.manager import Address, Manager
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"


def status(swarm: Swarm, manager: Engine) -> dict[str, Any]:
    found: dict[str, Any] = swarm.inspect("node", manager.name).get("ManagerStatus") or {}
    return found


def leading(swarm: Swarm) -> Engine:
    return next(each for each in swarm.site.engines if status(swarm, each).get("Leader"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a site of three managers."""
    started = Site.start(tmp_path_factory.mktemp("three-managers"))
    swarm = Swarm(started)
    for _ in range(2):
        swarm.docker("node", "promote", started.add_worker().name)
    wait_until(
        lambda: all(status(swarm, each).get("Reachability") == "reachable" for each in started.engines),
        "a promoted node becomes no manager",
    )
    yield started
    started.stop()


def test_an_up_outlives_the_manager_that_leads_and_dies_during_the_rollout(stack: Stack, swarm: Swarm) -> None:
    leader = leading(swarm)
    through, serving = (each for each in stack.site.engines if each != leader)
    wanted = {"nodes": [serving.name], "image": stack.site.image(images.SLOW_TAG)}
    manager = {"host": through.docker_host}
    stack.configure(wanted, swarm=manager)
    stack.deploy()

    def is_rolled_out() -> bool:
        with closing(through.client()) as docker:
            service = docker.services.get(SERVICE)
        return bool(service.attrs.get("UpdateStatus", {}).get("State") == "updating")

    def kill_leader() -> None:
        wait_until(is_rolled_out, "the rollout does not begin")
        leader.kill()

    stack.configure(wanted | {"blobTtl": "36h"}, swarm=manager)
    killer = threading.Thread(target=kill_leader)
    killer.start()
    try:
        stack.deploy()
    finally:
        killer.join()
        leader.start()
    assert stack.pull_as(stack.outputs(), address=serving.address).blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))


def test_a_node_that_the_new_leader_has_not_heard_from_yet_is_waited_for(site: Site, swarm: Swarm) -> None:
    leader = leading(swarm)
    through = next(each for each in site.engines if each != leader)
    serving = site.add_worker()
    manager = Manager(Address(host=through.docker_host))

    def state() -> str:
        with suppress(Refusal):  # there is no leader yet
            return str(manager.get(f"/nodes/{serving.name}")["Status"]["State"])
        return ""

    serving.pause()
    leader.kill()
    try:
        wait_until(lambda: state() == "unknown", "the new leader knows the node")
        with closing(through.client()) as docker:
            here = [f"node.hostname=={serving.name}"]
            service = docker.services.create(site.cache_image, ["/bin/sleep", "9999"], name="late", constraints=here)
        back = threading.Timer(2 * convergence.UNPLACED, serving.resume)
        back.start()
        convergence.wait(manager, service.id)
        back.join()
        assert state() == "ready"
    finally:
        serving.resume()
        leader.start()
        swarm.docker("service", "rm", "late")
    with closing(serving.client()) as docker:
        wait_until(lambda: not docker.containers.list(), "the task stays")
