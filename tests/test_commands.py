"""The README's commands, word for word, in a copy of the checkout with nothing set up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.site import Site
from tests.conftest import BIN

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    assert Site.find() is None, "the lab is in use: `make down` first"
    folder = tmp_path_factory.mktemp("clone")
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in subprocess.run(listed, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
    yield folder
    if Site.find():
        make(folder, "down")


def make(folder: Path, target: str) -> str:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "PYTEST_", "MAKE", "MFLAGS"))
    }
    # Not what `make engine` has put in this checkout's own environment.
    environment["PATH"] = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != BIN)
    run = subprocess.run(
        ["make", target], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def lab(folder: Path, *words: str) -> None:
    subprocess.run([folder / ".venv/bin/python", "-m", "lab", *words], cwd=folder, check=True)


def test_make_up_ends_with_the_url_and_a_pull_and_make_down_leaves_nothing(clone: Path) -> None:
    said = make(clone, "up").splitlines()
    assert "https://198.18.0.2" in said[-3]
    assert said[-2].startswith("pulled library/app:1@sha256:")
    assert said[-1].startswith("4 blobs")

    site = Site.find()
    assert site
    site.msr.wait_until_quiet()
    lab(clone, "stop", "msr")
    try:
        assert "pulled library/app:1" in make(clone, "pull"), "the second pull needs no MSR"
    finally:
        lab(clone, "start", "msr")

    assert "to create" not in make(clone, "preview")
    assert (clone / "Pulumi.dev.yaml").read_text() == (CHECKOUT / "Pulumi.dev.yaml").read_text()

    make(clone, "down")
    assert Site.find() is None
    assert not (clone / ".state").exists()
