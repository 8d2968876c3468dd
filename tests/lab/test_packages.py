"""The Debian packages of the lab: sites that start at once on a new machine don't get in each other's way."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import packages


def test_of_sites_that_start_at_once_one_installs_and_the_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, calls = tmp_path / "dockerd", list[str]()

    def apt_get(command: str, *_: str) -> None:
        calls.append(command)
        time.sleep(0.1)
        if command == "install":
            program.touch()

    monkeypatch.setattr(packages, "_PACKAGES", {str(program): "docker.io"})
    monkeypatch.setattr(packages, "_apt_get", apt_get)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: packages.ensure_installed(), range(4)))
    assert calls == ["update", "install"]
