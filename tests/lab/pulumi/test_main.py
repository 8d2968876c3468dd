"""What `make engine` takes for a program that somebody else has installed."""

import os
from pathlib import Path

import pytest

from lab.pulumi import __main__ as engine


def test_the_own_environment_reached_through_a_link_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "venv").symlink_to(engine.BIN.parent)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "venv" / "bin"), str(tmp_path), str(engine.BIN)]))
    assert engine._path_elsewhere() == str(tmp_path)
