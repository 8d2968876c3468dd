"""What somebody else has under a new cache's name is refused by name, and what is the cache's own is not."""

from __future__ import annotations

from typing import Any

import pytest

from msr_cache import conflicts
from msr_cache.msr.api import Entry, Msr
from msr_cache.resources.swarm_file import name_of
from msr_cache.swarm.ownership import Owner
from tests.msr_cache.conftest import STATE_ID, message, settings_with
from tests.msr_cache.engine import Engine

pytestmark = pytest.mark.usefixtures("secret_config")

ASIA = Owner("msr-cache", "prod", "asia", STATE_ID)
URL = "https://cache.asia.example.com"
FILES = {"dtr.cert.pem": "a CA"}
NAME = name_of("asia_dtr.cert.pem", "a CA")


@pytest.mark.parametrize("state", ["b0b1c2d3e4f5", None])
def test_a_secret_of_another_state_or_of_nobody_is_refused(state: str | None) -> None:
    swarm = Engine()
    labels = Owner("msr-cache", "prod", "asia", state).labels("dtr.cert.pem") if state else {}
    swarm.add("secrets", {"Name": NAME, "Labels": labels})
    found = message(lambda: conflicts.refuse_files(swarm.manager, ASIA, FILES))
    assert found.startswith(f"secret {NAME} already exists and belongs to ")


def test_the_caches_own_secret_which_a_killed_run_left_is_no_conflict() -> None:
    swarm = Engine()
    swarm.add("secrets", {"Name": NAME, "Labels": ASIA.labels("dtr.cert.pem")})
    conflicts.refuse_files(swarm.manager, ASIA, FILES)


@pytest.fixture
def msr(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """Give the entries of an MSR whose one account is alice."""
    entries: list[Entry] = []
    monkeypatch.setattr(Msr, "__init__", lambda *_: None)
    monkeypatch.setattr(Msr, "entries", lambda _: entries)
    monkeypatch.setattr(Msr, "cache_of", lambda _, user: {"alice": ""}.get(user))
    return entries


def refused(**wanted: Any) -> str:
    account = {"msr.user": "admin", "msr.password": "hunter2", "msr.ca": "system", ".registerInMsr": wanted}
    return message(lambda: conflicts.refuse_entry(settings_with(account), "asia", None))


def test_an_entry_of_the_name_and_an_account_that_msr_lacks_are_refused(msr: list[Entry]) -> None:
    assert "registerInMsr.users: found bob, expected an account" in refused(users=["alice", "bob"])
    msr.append(Entry("1", "asia", "https://theirs.example.com"))
    assert "registerInMsr: found an entry with the same name or host in MSR" in refused(users=["alice"])


def test_an_entry_to_adopt_and_a_cache_that_is_not_registered_are_no_conflict(msr: list[Entry]) -> None:
    msr.append(Entry("1", "asia", URL))
    account = {"msr.user": "admin", "msr.password": "hunter2", "msr.ca": "system"}
    for changes in ({}, account, {**account, ".registerInMsr": {"users": ["alice"], "adopt": True}}):
        conflicts.refuse_entry(settings_with(changes), "asia", None)
