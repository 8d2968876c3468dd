"""A line for each wait of more than two seconds, and none for a shorter one."""

from __future__ import annotations

import time

import pytest

from msr_cache import progress
from tests.msr_cache.engine import Clock


def test_a_request_that_takes_long_is_told_once(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG", 0.01)
    with progress.slowly("MSR to answer"):
        time.sleep(0.1)
    assert told == ["waiting for MSR to answer"]


def test_a_request_that_is_answered_soon_is_not_told(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG", 0.05)
    with progress.slowly("MSR to answer"):
        pass
    time.sleep(0.1)
    assert not told


def test_each_state_of_a_wait_is_told_once_and_once_more_when_it_lasts(told: list[str], clock: Clock) -> None:
    wait, start = progress.Progress(), clock.now
    while (second := clock.now - start) < 80:
        wait.look(lambda: "one" if second < 10 else "two")
        clock.sleep(0.5)
    assert told == ["waiting for one", "waiting for two", "waiting for two"]


def test_a_wait_of_two_seconds_asks_nothing(told: list[str], clock: Clock) -> None:
    wait = progress.Progress()
    clock.sleep(1.9)
    wait.look(lambda: pytest.fail("asked too early"))
    assert not told
