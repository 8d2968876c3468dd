"""A registration or verification that fails says why within a minute, and a repaired site converges by plain `up`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.msr_api import ACCESS_TOKENS, ADMIN
from lab.site import Site
from tests.end_to_end.conftest import lifetime
from tests.end_to_end.msr import MsrPage, pinned, register, url_of, without_msr
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm
from tests.end_to_end.test_failure import must_fail

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

USERS = {"users": ["alice"]}


@pytest.fixture(scope="module")
def served(site: Site, tmp_path_factory: pytest.TempPathFactory, plugins: str) -> Iterator[Stack]:
    """A cache that serves and is not registered, once for all failures."""
    stack = Stack(tmp_path_factory.mktemp("served") / "stack", site, plugins)
    for given in lifetime(stack):
        stack.configure({"fqdn": site.engine.address}, msr=pinned(site))
        stack.deploy()
        yield given
        site.msr.repair()
        site.msr.start()
    MsrPage(site).clear()


def fails(method: str, how: str) -> Callable[[Stack], None]:
    def break_it(stack: Stack) -> None:
        register(stack, USERS)
        stack.site.msr.fail(method, how)

    return break_it


def stop_msr(stack: Stack) -> None:
    register(stack, USERS)
    stack.site.msr.stop()


BROKEN: dict[str, tuple[Callable[[Stack], None], tuple[str, ...]]] = {
    "wrong credentials (401)": (
        lambda stack: register(stack, USERS, secret="wrong-password-8a61"),
        ("with 401", f"the password of {ADMIN} is wrong"),
    ),
    "no admin (403)": (
        lambda stack: register(stack, USERS, user="alice"),
        ("with 403", "set msr-cache:msr.user to an admin"),
    ),
    "409": (fails("POST", "409"), ("with 409", "give the cache another name")),
    "500": (fails("POST", "500"), ("with 500", "MSR itself fails")),
    "timeout": (fails("POST", "hang"), ("POST /api/v0/content_caches", "did not answer in time", "10 s in total")),
    "MSR does not trust the cache": (fails("POST", "400"), ("x509", "MSR does not trust the cache", "certificatePem")),
    "MSR down": (stop_msr, ("can't be reached from here", "that MSR is up")),
    "no such name": (
        lambda stack: register(stack, USERS, fqdn="cache.nowhere.invalid"),
        ("the name cache.nowhere.invalid does not resolve here", "a DNS entry is still missing"),
    ),
}


def test_each_failure_of_msr_is_named_and_a_repaired_site_converges(served: Stack) -> None:
    page = MsrPage(served.site)
    for break_it, words in BROKEN.values():
        break_it(served)
        must_fail(served.up(), *words)
        assert page.caches() == {}
        assert not page.points_at("alice")
        served.site.msr.repair()
        served.site.msr.start()
    register(served, USERS)
    served.deploy()
    assert page.points_at("alice") == page.only_id()


def test_a_token_that_msr_refuses_is_told_by_its_name_while_the_cache_is_registered(served: Stack) -> None:
    register(served, True, secret=ACCESS_TOKENS[ADMIN], kind="token")
    served.deploy()
    register(served, True, secret="revoked-token-5d1b", kind="token")
    for run in (served.preview(), served.up()):
        must_fail(
            run,
            "error: MSR at ",
            "with 401",
            f"the token of {ADMIN} is wrong or revoked: run pulumi config set --path --secret 'msr-cache:msr.token'",
        )
    with without_msr(served):
        run = served.must(served.preview())
        assert "can't be reached from here" in run.text
        assert "The credentials in msr-cache:msr are unchecked" in run.text
    register(served, True, secret=ACCESS_TOKENS[ADMIN], kind="token")
    served.must(served.preview(expect_no_changes=True))
    register(served, wish=False)
    served.deploy()


def test_an_account_that_msr_does_not_know_is_told_before_the_cache_or_msr_is_changed(served: Stack) -> None:
    before, page = Swarm(served.site).listing(), MsrPage(served.site)
    register(served, {"users": ["alice", "carol"]}, blobTtl="36h")
    for run in (served.preview(), served.up()):
        must_fail(
            run, "error: msr-cache:caches.asia.registerInMsr.users: found carol, expected an account that exists in MSR"
        )
    assert (Swarm(served.site).listing(), page.caches(), page.points_at("alice")) == (before, {}, "")


def test_a_lost_answer_makes_no_twin(served: Stack) -> None:
    page = MsrPage(served.site)
    register(served, USERS)
    served.site.msr.fail("POST", "lost")
    served.deploy()
    served.site.msr.repair()
    assert page.caches() == {page.only_id(): {"name": CACHE, "host": url_of(served)}}
    served.must(served.preview(refresh=True, expect_no_changes=True))
    register(served, wish=False)
    served.deploy()


def test_an_account_goes_back_to_its_former_cache_though_the_first_run_ended_before_it_was_recorded(
    served: Stack,
) -> None:
    """As if killed: the account points at the cache, but no state knows."""
    page = MsrPage(served.site)
    page.edit("former", name="europe", host="https://europe.example.com")
    page.point("bob", "former")
    register(served, {"users": ["bob"], "adopt": True})
    served.site.msr.fail("PATCH", "lost")
    must_fail(served.up(), "PATCH /api/v0/accounts/bob/settings")
    assert page.points_at("bob") != "former"
    served.site.msr.repair()
    served.deploy()
    served.must(served.preview(refresh=True, expect_no_changes=True))
    register(served, wish=False)
    served.deploy()
    assert page.points_at("bob") == "former"
    page.clear()


def test_a_password_in_clear_is_refused(served: Stack) -> None:
    served.configure(
        {"fqdn": served.site.engine.address, "registerInMsr": True},
        msr={**pinned(served.site), "user": ADMIN, "password": "in-the-clear"},
    )
    must_fail(
        served.preview(), "msr-cache:msr.password: found a secret in plain text", "pulumi config set --path --secret"
    )
