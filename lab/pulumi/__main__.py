"""`make engine`: Pulumi's CLI and plugins, or what takes their place, where the commands after it find them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lab.errors import LabError
from lab.pulumi import cli
from lab.pulumi.language_host import required_plugins
from lab.pulumi.plugins import LAUNCHERS

BIN = Path(sys.prefix) / "bin"
"""The virtual environment's programs: found by whoever activates it, and last on make's PATH."""
_LANGUAGE = Path(__file__).parent / "launchers"


def main() -> int:
    """Provide everything; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that an unfinished build is removed
    try:
        pulumi, is_built = _cli()
        _plugins(pulumi, may_install=not is_built)
    except LabError as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    return 0


def _cli() -> tuple[Path, bool]:
    """Return the CLI, and whether it was built here: that one lacks a language host."""
    found = shutil.which("pulumi", path=_path_elsewhere())
    made = None if found else cli.built(or_build=False)
    if not made and (other := found or cli.install()):
        _unlink("pulumi", *(launcher.name for launcher in _LANGUAGE.iterdir()))
        print(f"engine: Pulumi {'from PATH' if found else 'by its own installer'}: {other}")
        return Path(other), False
    made = made or cli.built(or_build=True)
    assert made  # noqa: S101 - or LabError
    _link(made, BIN / "pulumi")
    for launcher in _LANGUAGE.iterdir():
        _link(launcher, BIN / launcher.name)
    print(f"engine: Pulumi {cli.VERSION}, built on this machine, is not on PATH: .venv/bin/pulumi")
    return BIN / "pulumi", True


def _plugins(pulumi: Path, *, may_install: bool) -> None:
    """Let a stand-in take the place of each plugin that is not here and can't be installed."""
    for plugin in required_plugins():
        program = f"pulumi-resource-{plugin.name}"
        if shutil.which(program, path=_path_elsewhere()) or _has(pulumi, plugin.name, plugin.version, may_install):
            _unlink(program)
            continue
        _link(LAUNCHERS / program, BIN / program)
        print(f"engine: plugin {plugin.name} {plugin.version} can't be installed: the lab's stand-in, for the lab only")


def _has(pulumi: Path, name: str, version: str, may_install: bool) -> bool:  # noqa: FBT001 - a question of its own
    listed = json.loads(_ask(pulumi, "plugin", "ls", "--json").stdout or "[]")
    if any(plugin["name"] == name and plugin["version"] == version for plugin in listed):
        return True
    return may_install and _ask(pulumi, "plugin", "install", "resource", name, version).returncode == 0


def _ask(pulumi: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([pulumi, *words], capture_output=True, text=True, check=False)


def _path_elsewhere() -> str:
    """Return PATH without the virtual environment's own programs, which a link may lead to as well."""
    parts = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(part for part in parts if Path(part).resolve() != BIN.resolve())


def _link(source: Path, target: Path) -> None:
    """Make `target` the same as `source`: a program of the checkout's by a link, one from the cache by a hard link.

    Pulumi looks for its language hosts beside the file that it was started as, and warns of others on PATH.
    """
    _unlink(target.name)
    if not source.is_relative_to(cli.CACHE):
        target.symlink_to(source)
        return
    try:
        target.hardlink_to(source)
    except OSError:  # on another file system
        shutil.copy2(source, target)


def _unlink(*names: str) -> None:
    for name in names:
        (BIN / name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
