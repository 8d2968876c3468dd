"""What needs an operator is named with what to do; what can't be asked hides nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from msr_cache.commands import status
from msr_cache.commands.status import Status
from msr_cache.https import Unanswered
from msr_cache.msr.api import Credentials, Entry, Msr
from msr_cache.refusal import Refusal
from msr_cache.resources import msr_ca
from msr_cache.swarm.manager import Manager
from tests.msr_cache.conftest import listing, node, refusing, settings_with, task
from tests.msr_cache.engine import Engine

URL = "https://cache.asia.example.com"
LATER = (datetime.now(UTC) + timedelta(days=300)).isoformat()
OUTPUT = {
    "service": "asia_cache",
    "certificateExpires": LATER,
    "msrCaSha256": "0a" * 32,
    "registration": {"name": "asia", "host": URL},
}
ACCOUNT = {"msr.user": "admin", "msr.password": "hunter2", "msr.ca": {"sha256": "0a" * 32}}


@pytest.fixture(autouse=True)
def msr(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give what MSR has: its CA, its entries, and the cache of each account."""
    known: dict[str, Any] = {"sha256": "0a" * 32, "entries": [Entry("1", "asia", URL)], "alice": "1"}
    monkeypatch.setattr(msr_ca, "accepted", lambda _: {"pem": "a CA", "sha256": known["sha256"]})
    monkeypatch.setattr(Msr, "__init__", lambda *_: None)
    monkeypatch.setattr(Msr, "entries", lambda _: known["entries"])
    monkeypatch.setattr(Msr, "cache_of", lambda _, user: known[user])
    return known


def running() -> Engine:
    return listing(node("worker-7", **{"dtr.cache": "true"}), running_on=("worker-7",))


def of_asia(manager: Manager, changes: Mapping[str, Any] | None = None, output: Mapping[str, Any] = OUTPUT) -> Status:
    (found,) = status.statuses(settings_with(changes), manager, {"asia": output} if output else {})
    return found


def test_a_cache_that_serves_has_no_problem() -> None:
    found = of_asia(running().manager)
    assert found == Status("asia", "1/1", "worker-7", f"until {LATER[:10]}", "as trusted", "-", [])


def test_a_service_that_is_gone_is_named() -> None:
    found = of_asia(listing(node("worker-7")).manager)
    assert (found.tasks, found.nodes) == ("gone", "none")
    assert found.problems == ["service asia_cache is gone: run pulumi up --refresh"]


def test_a_task_that_does_not_run_is_explained() -> None:
    swarm = running()
    (known,) = swarm.kinds["tasks"].values()
    known |= {**task("x", "rejected", "No such image: cache:1"), "NodeID": "id-of-worker-7"}
    found = of_asia(swarm.manager)
    assert (found.tasks, found.nodes) == ("0/1", "none")
    told = "0 of 1 tasks run: task x on worker-7: No such image: cache:1; see docker service ps asia_cache"
    assert found.problems == [told]


def test_a_cache_that_was_never_deployed_is_named() -> None:
    assert of_asia(running().manager, output={}).problems == ["the stack has no such cache yet: run pulumi up"]


@pytest.mark.parametrize(("days", "due"), [(31, False), (29, True), (-1, True)])
def test_a_certificate_within_its_window_is_due(days: int, due: bool) -> None:
    ends = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    problems = of_asia(running().manager, output={**OUTPUT, "certificateExpires": ends}).problems
    assert problems == [f"the certificate expires on {ends[:10]}: run pulumi up, which makes a new one"] * due


def test_another_ca_of_msrs_is_named(msr: dict[str, Any]) -> None:
    msr["sha256"] = "0b" * 32
    found = of_asia(running().manager)
    assert found.msr_ca == "differs"
    (problem,) = found.problems
    assert problem == (
        f"MSR at https://msr.example.com has another CA: found SHA-256 {'0b' * 32}, expected {'0a' * 32}: "
        "see docs/trust.md"
    )


def test_with_the_systems_cas_there_is_nothing_to_compare() -> None:
    found = of_asia(running().manager, {"msr.ca": "system"})
    assert (found.msr_ca, found.problems) == ("-", [])


REGISTERED = ACCOUNT | {".registerInMsr": {"users": ["alice"]}}


def test_the_swarms_nodes_and_msrs_ca_are_asked_for_once_for_all_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    accepted = msr_ca.accepted
    monkeypatch.setattr(msr_ca, "accepted", lambda inputs: asked.append("CA") or accepted(inputs))
    swarm = running()
    europe = {"fqdn": "cache.eu.example.com", "nodes": ["worker-7"], "port": 8443, "label": "eu.cache"}
    outputs = {"asia": OUTPUT, "europe": OUTPUT}
    found = list(status.statuses(settings_with({"caches.europe": europe}), swarm.manager, outputs))
    assert [each.problems for each in found] == [[], []]
    assert asked == ["CA"]
    assert [path for _, path, _, _ in swarm.asked].count("/nodes") == 1


@pytest.mark.usefixtures("secret_config")
@pytest.mark.parametrize("kind", ["password", "token"])
def test_msr_is_asked_with_the_secret_of_the_config(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Credentials] = []
    monkeypatch.setattr(Msr, "__init__", lambda *args: given.append(args[3]))
    account = {key: value for key, value in REGISTERED.items() if key != "msr.password"}
    assert of_asia(running().manager, account | {f"msr.{kind}": "hunter2"}).problems == []
    assert given == [Credentials("admin", "hunter2", kind)]


@pytest.mark.usefixtures("secret_config")
def test_an_entry_and_its_accounts_are_counted(msr: dict[str, Any]) -> None:
    assert of_asia(running().manager, REGISTERED).msr_entry == "1/1 accounts"
    msr["alice"] = "2"
    found = of_asia(running().manager, REGISTERED)
    assert found.msr_entry == "0/1 accounts"
    assert found.problems == ["MSR does not send alice to the cache: run pulumi up --refresh"]
    msr["entries"] = [Entry("1", "asia", "https://elsewhere"), Entry("2", "other", URL)]
    found = of_asia(running().manager, REGISTERED)
    assert found.msr_entry == "missing"
    assert found.problems == [f"MSR has no entry asia at {URL}: run pulumi up --refresh"]


def test_a_manager_that_refuses_and_an_msr_that_is_down_are_problems_that_hide_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def down(*_: Any) -> str:
        raise Unanswered("MSR is down")

    monkeypatch.setattr(msr_ca, "accepted", down)
    found = of_asia(refusing(503, "no leader"))
    assert (found.tasks, found.certificate) == ("?", f"until {LATER[:10]}")
    assert len(found.problems) == 2
    assert "no leader" in found.problems[0]
    assert found.problems[1] == "MSR is down"


def test_without_pulumi_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refusal, match="pulumi can't be run"):
        status.main([])
