"""A change lands only after a run in which Pulumi ran, and every command of the README."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.conftest import left_out

PULUMI: Any = SimpleNamespace(nodeid="tests/end_to_end/test_seed.py::test_a", keywords={"engine": 1})
README: Any = SimpleNamespace(nodeid="tests/test_commands.py::test_make_up", keywords={"engine": 1})


def test_a_run_without_pulumi_and_a_skipped_test_of_the_readme_are_named() -> None:
    assert left_out(passed=[], skipped=[PULUMI]) == ["all that runs Pulumi"]
    assert left_out(passed=[PULUMI], skipped=[PULUMI, README]) == [README.nodeid]
    assert left_out(passed=[README], skipped=[PULUMI]) == []
