"""A manager that can't be asked is an error, never a reason to forget what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lab.site import Site
from msr_cache.swarm import connection
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.middleman import Middleman
from tests.end_to_end.msr import without_msr
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


@pytest.fixture(scope="module")
def middleman(site: Site) -> Iterator[Middleman]:
    with Middleman(site.run / "middleman.sock", site.engine.docker_host) as between:
        yield between


@pytest.fixture
def deployed(middleman: Middleman, shared: Stack) -> Stack:
    """Give the module's stack, deployed by way of the middleman."""
    shared.configure(swarm={"host": middleman.host})
    shared.keep_deployed()
    return shared


def cut(between: Middleman) -> None:
    between.left = 0


def cut_half_way(between: Middleman) -> None:
    between.left = 6


def forbid(pattern: str) -> Callable[[Middleman], None]:
    def change(between: Middleman) -> None:
        between.forbid = pattern

    return change


OUTAGES: dict[str, Callable[[Middleman], None]] = {
    "the manager can't be reached": cut,
    "the manager dies half-way": cut_half_way,
    "403 for secrets": forbid(r"/secrets"),
    "403 for services": forbid(r"/services"),
}


def test_while_msr_is_down_the_swarm_is_repaired_all_the_same(stack: Stack, swarm: Swarm) -> None:
    msr = stack.site.msr
    stack.configure(msr={"url": msr.url, "ca": {"pem": msr.ca_pem()}})
    stack.deploy()
    before = swarm.inspect("service", f"{CACHE}_cache")["Spec"]
    # The lab's cache does not start while its MSR is down, so nothing that restarts it.
    swarm.docker("service", "update", "--detach", "--label-add", "com.docker.stack.namespace=other", f"{CACHE}_cache")
    with without_msr(stack):
        assert "The last refresh kept what the state has, unchecked" in stack.deploy(refresh=True).words
        assert swarm.inspect("service", f"{CACHE}_cache")["Spec"] == before
        stack.must(stack.destroy(refresh=True))


def test_each_refresh_that_fails_forgets_nothing_and_the_next_up_changes_nothing(
    middleman: Middleman, deployed: Stack, swarm: Swarm
) -> None:
    before = {resource["urn"]: resource["id"] for resource in deployed.resources() if "id" in resource}
    listing = swarm.listing()
    for break_it in OUTAGES.values():
        break_it(middleman)
        run = deployed.refresh()
        middleman.left = middleman.forbid = None
        assert not run.ok, run.text
        assert "Traceback" not in run.text
        assert {resource["urn"]: resource["id"] for resource in deployed.resources() if "id" in resource} == before
    done = deployed.deploy(refresh=True)
    assert not done.operations, done.operations
    assert swarm.listing() == listing


def test_a_wrong_address_of_a_deployed_stack_is_told_with_its_key_and_forgets_nothing(
    middleman: Middleman, deployed: Stack, swarm: Swarm
) -> None:
    """pulumi-docker alone says "failed to connect to any docker daemon"."""
    listing, nowhere = swarm.listing(), f"unix://{deployed.site.run}/nowhere.sock"
    deployed.configure(swarm={"host": nowhere})
    for run in (deployed.preview(), deployed.up()):
        assert not run.ok
        assert f"error: msr-cache:swarm.host: found {nowhere}, expected a manager that answers" in run.text
        assert "Traceback" not in run.text
    assert swarm.listing() == listing
    deployed.configure(swarm={"host": middleman.host})
    assert not deployed.deploy().operations


def test_a_manager_that_hangs_is_told_by_preview_and_up_within_seconds(middleman: Middleman, deployed: Stack) -> None:
    before = deployed.must(deployed.preview()).seconds
    deployed.site.engine.pause()
    try:
        runs = [deployed.preview(), deployed.up()]
    finally:
        deployed.site.engine.resume()
    for run in runs:
        assert not run.ok
        assert f"found {middleman.host}, expected a manager that answers (timed out)" in run.text
    usual = max(before, deployed.deploy().seconds)  # on this machine, with all that it does at the moment
    assert max(run.seconds for run in runs) < connection.TIMEOUT + 3 * usual


def test_a_refresh_that_is_given_up_while_the_manager_hangs_forgets_nothing(deployed: Stack) -> None:
    """The provider waits without end for a manager that takes connections and answers nothing."""
    before = {resource["urn"] for resource in deployed.resources()}
    deployed.site.engine.pause()
    try:
        given_up = time.monotonic() + 30
        assert deployed.kill("refresh", lambda: time.monotonic() > given_up)
    finally:
        deployed.site.engine.resume()
    typed(deployed, commands("docs/recover.md", "The manager accepts connections but never answers"))
    assert {resource["urn"] for resource in deployed.resources()} == before
    deployed.deploy()  # a swarm that was away so long may have begun its task anew
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))
