"""A state's id: random, made once, kept, and another one only where the config gives it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from msr_cache.resources.state_id import StateIdProvider
from tests.msr_cache.conftest import NOWHERE, STATE_ID, as_engine_gives, configured, load, with_changes


def create(props: dict[str, Any]) -> str:
    return str(configured(StateIdProvider(), NOWHERE).create(props).outs["value"])


def test_no_two_states_have_the_same_id_and_the_config_takes_each_of_them() -> None:
    """Of digits alone, or with one e among them, the config's reader would make a number."""
    values = {create({}) for _ in range(200)}
    assert len(values) == 200
    assert all(re.fullmatch(r"[0-9a-f]{12}", value) for value in values)
    assert {load(as_engine_gives(with_changes({"stateId": value}))).state_id for value in values} == values


def test_an_id_that_the_config_gives_is_the_states() -> None:
    assert create({"value": STATE_ID}) == STATE_ID


@pytest.mark.parametrize(
    ("given", "changes"),
    [({}, False), ({"value": STATE_ID}, False), ({"value": "f00000000000"}, True)],
    ids=["none", "the same", "another"],
)
def test_an_id_changes_only_if_the_config_gives_another(given: dict[str, str], changes: bool) -> None:
    diff = StateIdProvider().diff("state", {"value": STATE_ID}, given)
    assert (diff.changes, diff.replaces) == (changes, None)
