"""A client bundle, as MKE gives it out: the folder or zip file that holds a manager's address and a key for it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from msr_cache.refusal import Refusal


def unpacked(bundle: Path) -> Path:
    """Return the folder of a bundle, its zip file unpacked beside itself when it is new; Refusal where it is none."""
    if bundle.suffix != ".zip":
        folder = bundle
    else:
        # The provider is a process of its own and its inputs are compared run by run: it needs a path that stays.
        folder = bundle.with_suffix("")
        if bundle.is_file():
            _unpack(bundle, folder)
        elif not folder.is_dir():
            message = f"msr-cache:swarm.clientBundle: found no file {bundle}, allowed is what MKE gives out as one"
            raise Refusal(message)
    missing = [name for name in ("ca.pem", "cert.pem", "key.pem", "env.sh") if not (folder / name).is_file()]
    if missing:
        message = (
            f"msr-cache:swarm.clientBundle: found no {', '.join(missing)} in {folder}, "
            "allowed is the folder or zip file that MKE gives out as a client bundle"
        )
        raise Refusal(message)
    return folder


def _unpack(bundle: Path, folder: Path) -> None:
    """Let `folder` hold what the zip file does: a renewed bundle bears the name of the old one."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            if all(_holds(folder, entry) for entry in archive.infolist()):
                return
            with TemporaryDirectory(dir=folder.parent) as scratch:  # which nobody else may look into
                archive.extractall(scratch)
                _move_all(Path(scratch), folder)
    except (OSError, zipfile.BadZipFile) as error:
        message = f"msr-cache:swarm.clientBundle: found {bundle}, which can't be unpacked ({error}): download it anew"
        raise Refusal(message) from None


def _move_all(source: Path, folder: Path) -> None:
    """Others may read `folder` meanwhile: no file of it is ever half written, or open to others."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(source.rglob("*")):  # folders come before what is in them
        place = folder / path.relative_to(source)
        if path.is_dir():
            place.mkdir(mode=0o700, exist_ok=True)
        else:
            path.chmod(0o600)
            path.replace(place)


def _holds(folder: Path, entry: zipfile.ZipInfo) -> bool:
    path = folder / entry.filename
    return path.is_dir() if entry.is_dir() else path.is_file() and zlib.crc32(path.read_bytes()) == entry.CRC


def host(folder: Path) -> str:
    """Return the manager's address that the bundle's env.sh sets."""
    for line in (folder / "env.sh").read_text().splitlines():
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if name == "DOCKER_HOST":
            return value.strip("\"'")
    message = f"msr-cache:swarm.clientBundle: found no DOCKER_HOST in {folder / 'env.sh'}"
    raise Refusal(message)
