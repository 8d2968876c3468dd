"""After `up` MSR redirects pulls to the cache; a change in MSR is seen and repaired; `destroy` takes all of it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from lab.client import PullError, PullResult
from lab.msr_api import ADMIN, PASSWORDS
from lab.registry import tar
from lab.site import Site
from tests.end_to_end.background import repeatedly
from tests.end_to_end.msr import MsrPage, pull_as_user, register, trust_bundle, url_of
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.test_failure import must_fail

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

ALL = {"users": ["alice", ADMIN]}


@pytest.fixture
def page(site: Site) -> Iterator[MsrPage]:
    yield MsrPage(site)
    MsrPage(site).clear()
    site.msr.repair()


@contextmanager
def watched(look: Callable[[], str | None], pause: float) -> Iterator[list[str]]:
    """Look again and again; what is found wrong is collected, and nothing may be."""
    wrong: list[str] = []
    looks: list[None] = []

    def note() -> None:
        if problem := look():
            wrong.append(problem)
        looks.append(None)

    with repeatedly(note, pause):
        yield wrong
    assert not wrong
    assert len(looks) > 10


def test_a_changed_host_leaves_no_user_without_an_entry_for_a_moment(stack: Stack, page: MsrPage) -> None:
    register(stack, ALL)
    stack.deploy()
    old = page.only_id()

    def pointing() -> str | None:
        caches = page.caches()
        return None if page.points_at("alice") in caches or not caches else "alice points at nothing"

    register(stack, ALL, fqdn="cache.moved.example.com", verify="off")
    with watched(pointing, 0.005):
        stack.deploy()
    assert page.caches() == {page.only_id(): {"name": CACHE, "host": f"https://cache.moved.example.com:{PORT}"}}
    assert page.points_at("alice") == page.only_id() != old


def test_destroy_unregisters_first_and_puts_users_back(stack: Stack, page: MsrPage) -> None:
    site = stack.site
    page.edit("before", name="old", host="https://old.example.com")
    page.point(ADMIN, "before")
    register(stack, ALL)
    must_fail(stack.preview(), f"found {ADMIN}, who pulls through old at https://old.example.com (id before)")
    register(stack, {**ALL, "adopt": True})
    stack.deploy()
    trust = trust_bundle(stack)
    seen = len(site.msr.requests())

    def pulling() -> str | None:
        try:
            pull_as_user(site, "alice", trust)
        except PullError as error:
            return str(error)
        return None

    with watched(pulling, 0):
        stack.must(stack.destroy())
    blobs = [line.split()[2] for line in site.msr.requests()[seen:] if "/blobs/" in line]
    assert set(blobs) == {"307", "200"}, "pulls were redirected, and then they were not"
    assert list(page.caches()) == ["before"]
    assert (page.points_at("alice"), page.points_at(ADMIN)) == ("", "before")


def test_an_entry_that_was_there_before_is_reported_and_adopted_only_when_asked(stack: Stack, page: MsrPage) -> None:
    page.edit("theirs", name=CACHE, host=url_of(stack))
    register(stack)
    run = stack.preview()
    assert not run.ok
    assert f"found the entry {CACHE} at {url_of(stack)} (id theirs) in MSR" in run.text
    register(stack, {"adopt": True})
    stack.deploy()
    assert list(page.caches()) == ["theirs"]


@pytest.fixture(scope="module")
def registered(shared: Stack) -> Stack:
    register(shared, ALL, verify="pull")
    shared.deploy()
    return shared


def test_one_up_ends_with_pulls_that_msr_redirects_to_the_cache(registered: Stack) -> None:
    site, page = registered.site, MsrPage(registered.site)
    assert page.caches() == {page.only_id(): {"name": CACHE, "host": url_of(registered)}}
    trust = trust_bundle(registered)
    seen = len(site.msr.requests())
    first = pull_as_user(site, "alice", trust)
    answered = [line for line in site.msr.requests()[seen:] if "GET" in line]
    assert [line for line in answered if "/manifests/" in line and " 200 " in line]
    assert sum(" 307 " in line for line in answered) == len(first.blobs)
    site.msr.wait_until_quiet()
    before = page.blob_bytes()
    assert pull_as_user(site, "alice", trust).blobs == first.blobs
    assert page.blob_bytes() == before
    pull_as_user(site, "bob", trust)
    assert page.blob_bytes() == before + sum(first.blobs.values())
    registered.must(registered.preview(refresh=True, expect_no_changes=True))


def test_200_pulls_by_8_clients_at_once_move_no_byte_from_msr_after_the_first(registered: Stack) -> None:
    """The first is alone: Debian's registry, in the lab's cache, fetches a blob anew for each who asks meanwhile."""
    site, page = registered.site, MsrPage(registered.site)
    layers = [tar({f"data/{number}": (0o644, os.urandom(1 << 16))}) for number in range(4)]
    site.msr.registry.push("team/layered", Site.app_tag, layers, {})
    trust = trust_bundle(registered)

    def pull(_: int) -> PullResult:
        return pull_as_user(site, "alice", trust, "team/layered")

    first = pull(0)
    assert len(first.blobs) == 5
    site.msr.wait_until_quiet()
    before = page.blob_bytes()
    with ThreadPoolExecutor(8) as clients:
        pulled = list(clients.map(pull, range(200)))
    assert all(one.blobs == first.blobs for one in pulled)
    assert page.blob_bytes() == before


def test_docker_itself_pulls_through_the_cache(registered: Stack) -> None:
    site = registered.site
    registry = site.trust(cache["certificatePem"] for cache in registered.outputs()["caches"].values())
    seen = len(site.msr.requests())
    with closing(site.engine.client()) as client:
        name = f"{registry}/{Site.app_repository}"
        login = {"username": "alice", "password": PASSWORDS["alice"]}
        image = client.images.pull(name, Site.app_tag, auth_config=login)
        client.images.remove(image.id)
    assert image.tags == [f"{name}:{Site.app_tag}"]
    assert sum(" 307 " in line for line in site.msr.requests()[seen:]) == len(image.attrs["RootFS"]["Layers"]) + 1
