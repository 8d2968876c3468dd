"""What somebody else has under a new cache's name is refused by name, and what is the cache's own is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from msr_cache import conflicts
from msr_cache.msr.api import Entry, Msr
from msr_cache.resources.swarm_file import name_of
from msr_cache.swarm.ownership import Owner
from tests.certificates import HOST, make
from tests.msr_cache.conftest import MSR_TLS, STATE_ID, declared, message, node, settings_with
from tests.msr_cache.engine import Engine

pytestmark = pytest.mark.usefixtures("secret_config")

ASIA = Owner("project", "stack", "asia", STATE_ID)  # as the SDK calls them outside a run
URL = "https://cache.asia.example.com"
LEAF = make(HOST, sans=(HOST,))
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "dtr.cert.pem": (MSR_TLS.ca, {}),
    "cache.key.pem": (
        LEAF.key,
        {"msr.ca": "system", ".tls": {"source": "provided", "certificate": LEAF.pem, "key": LEAF.key}},
    ),
}


def create(swarm: Engine, file: str) -> str:
    """Begin with the first resource of a new cache, where there is such a secret; return its name."""
    data, changes = FILES[file]
    hook = declared(changes, swarm).hooks["asia-conflicts"]

    async def run() -> None:
        await hook.callback(pulumi.ResourceHookArgs("urn", "id", "asia", "type"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conflicts, "Manager", lambda _: swarm.manager)
        asyncio.run(run())
    return name_of(f"asia_{file}", data)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("state", ["b0b1c2d3e4f5", None])
def test_a_secret_of_another_state_or_of_nobody_is_refused(state: str | None, file: str) -> None:
    swarm = Engine(node("worker-7"))
    name = create(swarm, file)
    labels = replace(ASIA, state=state).labels(file) if state else {}
    swarm.add("secrets", {"Name": name, "Labels": labels})
    found = message(lambda: create(swarm, file))
    assert found.startswith(f"secret {name} already exists and belongs to ")


def test_the_caches_own_secret_which_a_killed_run_left_is_no_conflict() -> None:
    swarm = Engine(node("worker-7"))
    swarm.add("secrets", {"Name": create(swarm, "dtr.cert.pem"), "Labels": ASIA.labels("dtr.cert.pem")})
    create(swarm, "dtr.cert.pem")


@pytest.fixture
def msr(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """Give the entries of an MSR."""
    entries: list[Entry] = []
    monkeypatch.setattr(Msr, "__init__", lambda *_: None)
    monkeypatch.setattr(Msr, "entries", lambda _: entries)
    return entries


ACCOUNT = {"msr.user": "admin", "msr.password": "hunter2", "msr.ca": "system"}


def test_an_entry_of_the_name_is_refused(msr: list[Entry]) -> None:
    msr.append(Entry("1", "asia", "https://theirs.example.com"))
    settings = settings_with({**ACCOUNT, ".registerInMsr": {"users": ["alice"]}})
    told = message(lambda: conflicts.refuse_entry(settings, "asia", None))
    assert "registerInMsr: found an entry with the same name or host in MSR" in told


def test_an_entry_to_adopt_and_a_cache_that_is_not_registered_are_no_conflict(msr: list[Entry]) -> None:
    msr.append(Entry("1", "asia", URL))
    for changes in ({}, ACCOUNT, {**ACCOUNT, ".registerInMsr": {"users": ["alice"], "adopt": True}}):
        conflicts.refuse_entry(settings_with(changes), "asia", None)
