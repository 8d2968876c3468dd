"""A stack keeps its running cache under a new name."""

from __future__ import annotations

import pytest

from tests.end_to_end import stack as names
from tests.end_to_end.stack import CACHE, NAME, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def test_a_renamed_stack_keeps_its_tasks_and_may_be_destroyed_after_one_more_rename(
    stack: Stack, swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deploy()
    tasks = swarm.task_ids(f"{CACHE}_cache")
    stack.ask("stack", "rename", "renamed")
    monkeypatch.setattr(names, "NAME", "renamed")
    stack.must(stack.preview())
    stack.deploy()
    assert swarm.task_ids(f"{CACHE}_cache") == tasks
    assert (
        swarm.inspect("service", f"{CACHE}_cache")["Spec"]["Labels"]["msr-cache.owner"] == f"msr-cache/renamed/{CACHE}"
    )
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    assert stack.pull().blobs
    stack.ask("stack", "rename", NAME)
    monkeypatch.undo()
