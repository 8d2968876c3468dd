"""In which order clients are sent to a cache, and what each step is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.msr_cache.conftest import MSR_TLS, Program, declared, plain

ADMIN = {"msr.user": "ops", "msr.password": "canary", "msr.ca": {"sha256": "0a" * 32}}
USERS = {**ADMIN, ".registerInMsr": {"users": ["ops", "bob"]}, ".verify": "pull"}
MSR = {"url": "https://msr.example.com", "ca": MSR_TLS.ca}


def steps(program: Program) -> list[str]:
    """Return the names of what comes after the rollout, but for the settings, which come after it, too."""
    names = [each.name for each in program.resources if each.kind != "CacheSettings"]
    return names[names.index("asia-rollout") + 1 :]


def after(program: Program, name: str) -> set[str]:
    (found,) = (each for each in program.resources if each.name == name)
    return {urn.rpartition("::")[2] for urn in found.dependencies}


def inputs(program: Program, name: str) -> dict[str, Any]:
    (found,) = (plain(each.inputs) for each in program.resources if each.name == name)
    return {key: value for key, value in found.items() if key != "__provider"}


@pytest.mark.usefixtures("secret_config")
def test_accounts_come_after_the_verified_entry_and_former_entries_after_the_accounts() -> None:
    program = declared(USERS)
    assert "asia-rollout" in after(program, "asia-verification")
    assert "asia-verification" in after(program, "asia-registration")
    for user in ("ops", "bob"):
        assert {"asia-registration", f"asia-{user}-former-cache"} <= after(program, f"asia-{user}-user")
    assert {"asia-ops-user", "asia-bob-user"} <= after(program, "asia-former-entries")
    assert "asia-former-entries" in after(program, "asia-pull")


@pytest.mark.usefixtures("secret_config")
def test_nothing_of_a_cache_is_made_before_msr_has_its_accounts() -> None:
    program = declared(USERS)
    accounts = {"asia-ops-former-cache", "asia-bob-former-cache"}
    assert accounts <= after(program, "asia-image")
    assert accounts <= after(program, "asia-worker-7")


@pytest.mark.usefixtures("secret_config")
def test_each_step_is_told_whose_entry_it_is_about() -> None:
    program = declared(USERS)
    registration = {**MSR, "name": "asia", "host": "https://cache.asia.example.com", "adopt": False}
    assert inputs(program, "asia-registration") == registration
    account = {**MSR, "user": "bob", "at": "msr-cache:caches.asia.registerInMsr.users", "before": "b0b", "cache": "e1"}
    assert inputs(program, "asia-bob-user") == {**account, "adopt": False}
    assert inputs(program, "asia-former-entries") == {**MSR, "entry": "e1", "former": ["e0"]}
    pull = inputs(program, "asia-pull")
    assert (pull["redirected"], pull["entry"]) == (True, "e1")
    assert MSR.items() <= pull.items()
    for key in ("cache", "cacheUrl", "certificate", "sha256", "specSha256"):
        assert inputs(program, "asia-verification")[key] == pull[key]


@pytest.mark.usefixtures("secret_config")
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({".verify": "tls"}, ["asia-verification"]),
        ({**ADMIN, ".registerInMsr": {}}, ["asia-verification", "asia-registration", "asia-former-entries"]),
        ({**ADMIN, ".registerInMsr": {}, ".verify": "off"}, ["asia-registration", "asia-former-entries"]),
        ({**ADMIN, ".verify": "pull"}, ["asia-verification", "asia-pull"]),
    ],
)
def test_only_what_the_settings_ask_for_is_done(changes: dict[str, Any], names: list[str]) -> None:
    program = declared(changes)
    assert steps(program) == names
    if "asia-pull" in names:
        assert inputs(program, "asia-pull")["redirected"] is False
