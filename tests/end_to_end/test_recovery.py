"""A cache that ends comes back by itself, and one that takes its time to end holds nothing up."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import pytest

from lab import images
from lab.client import PullError
from lab.process import wait_until
from lab.site import Site
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"


def reboot(swarm: Swarm) -> None:
    swarm.site.engine.stop()
    swarm.site.engine.start()


def power_cut(swarm: Swarm) -> None:
    swarm.site.engine.kill()
    swarm.site.engine.start()


ENDS: dict[str, Callable[[Swarm], object]] = {
    "its container is stopped": lambda swarm: swarm.docker("stop", swarm.container(SERVICE)),
    "its container is killed": lambda swarm: swarm.docker("kill", swarm.container(SERVICE)),
    "its node is rebooted": reboot,
    "its node loses power": power_cut,
}


def test_a_cache_that_uses_its_whole_grace_period_holds_up_neither_up_nor_destroy(
    stack: Stack, swarm: Swarm, site: Site
) -> None:
    for mode, ttl in (("ingress", "24h"), ("ingress", "36h"), ("host", "36h")):
        stack.configure({"image": site.image(images.STUBBORN_TAG), "publishMode": mode, "blobTtl": ttl})
        stack.deploy()
    container = swarm.container(SERVICE)
    shown = stack.must(stack.destroy())
    assert re.search(rf"info: waiting for service {SERVICE}: task \w+ on {site.engine.name}, stopping\n", shown.text)
    assert container not in swarm.docker("ps", "--quiet")


def test_a_cache_comes_back_by_itself_however_it_ended(deployed: Stack, swarm: Swarm) -> None:
    """A registry that drains ends with 0, which `on-failure` takes for the end of its work (moby issue 45788)."""
    outputs = deployed.outputs()

    def serves() -> bool:
        try:
            return bool(deployed.pull_as(outputs).blobs)
        except PullError:
            return False

    for what, end in ENDS.items():
        before = swarm.container(SERVICE)
        end(swarm)
        wait_until(serves, f"the cache does not come back after {what}")
        assert swarm.container(SERVICE) != before
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))


def test_an_interrupt_during_a_trial_removes_the_trial_and_ends_the_run_at_once(
    deployed: Stack, swarm: Swarm, site: Site
) -> None:
    """The engine waits for the hook, the program's threads wait for the engine: neither may wait for the other."""
    before, task = swarm.listing(), swarm.task_ids(SERVICE)
    deployed.configure({"image": site.image(images.SLOW_TAG)})
    started = 0.0

    def trial_runs() -> bool:
        nonlocal started
        started = time.monotonic()
        return f"{SERVICE}-trial" in swarm.names("service")

    assert deployed.kill("up", trial_runs, signal.SIGINT)
    assert time.monotonic() - started < 15
    assert (swarm.listing(), swarm.task_ids(SERVICE)) == (before, task)
    deployed.deploy()
    deployed.must(deployed.preview(expect_no_changes=True))
