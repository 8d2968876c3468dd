"""What somebody changes in MSR by hand is seen by `preview --refresh` and mended by `up --refresh`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.msr_api import ACCESS_TOKENS, ADMIN
from lab.site import Site
from tests.end_to_end.conftest import lifetime
from tests.end_to_end.msr import MsrPage, register, url_of
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm
from tests.end_to_end.test_settled import openssl_sha256

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"
USERS = {"users": ["alice", ADMIN]}


@pytest.fixture(scope="module")
def registered(site: Site, tmp_path_factory: pytest.TempPathFactory, plugins: str) -> Iterator[Stack]:
    """One cache for all drifts: each is mended before the next."""
    stack = Stack(tmp_path_factory.mktemp("registered") / "stack", site, plugins)
    for given in lifetime(stack):
        register(stack, USERS, secret=ACCESS_TOKENS[ADMIN], kind="token")
        stack.deploy()
        yield given
    MsrPage(site).clear()


DRIFTS: dict[str, tuple[Callable[[MsrPage], object], str]] = {
    "entry removed": (lambda page: page.remove(page.only_id()), "Registration"),
    "entry renamed": (lambda page: page.edit(page.only_id(), name="other"), "Registration"),
    "entry pointed elsewhere": (lambda page: page.edit(page.only_id(), host="https://elsewhere"), "Registration"),
    "user pointed at no cache": (lambda page: page.point("alice", ""), "CacheUser"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_in_msr_is_seen_and_mended(registered: Stack, drift: str) -> None:
    page = MsrPage(registered.site)
    change, seen_in = DRIFTS[drift]
    change(page)
    shown = registered.must(registered.preview(refresh=True))
    assert seen_in in shown.changed(), shown.text
    registered.deploy(refresh=True)
    assert page.caches() == {page.only_id(): {"name": CACHE, "host": url_of(registered)}}
    assert page.points_at("alice") == page.points_at(ADMIN) == page.only_id()
    registered.must(registered.preview(refresh=True, expect_no_changes=True))


def test_while_msr_is_down_the_swarm_of_a_registered_cache_is_repaired_all_the_same(
    registered: Stack, swarm: Swarm
) -> None:
    before = swarm.inspect("service", SERVICE)["Spec"]
    # The lab's cache does not start while its MSR is down, so nothing that restarts it.
    swarm.docker("service", "update", "--detach", "--label-add", "com.docker.stack.namespace=other", SERVICE)
    registered.site.msr.stop()
    try:
        run = registered.deploy(refresh=True)
    finally:
        registered.site.msr.start()
    for request in ("GET /api/v0/content_caches", "GET /api/v0/accounts/alice/settings"):
        told = f"warning: {request}: MSR at {registered.site.msr.url} can't be reached"
        assert told in run.words, run.words
    assert "The last refresh kept what the state has, unchecked" in run.words
    assert swarm.inspect("service", SERVICE)["Spec"] == before
    registered.deploy(refresh=True)
    registered.must(registered.preview(refresh=True, expect_no_changes=True))


def test_a_rotated_ca_of_msr_reaches_the_registration(registered: Stack) -> None:
    registered.site.msr.rotate_ca()
    pin = openssl_sha256(registered.site.msr.ca_pem())
    registered.ask("config", "set", "--path", "msr-cache:msr.ca.sha256", pin)
    registered.deploy()
    page = MsrPage(registered.site)
    page.remove(page.only_id())
    assert "Registration" in registered.must(registered.preview(refresh=True)).changed()
    registered.deploy(refresh=True)
