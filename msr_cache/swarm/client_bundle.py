"""MKE's client bundle: a folder or zip file with a manager's address and the key for it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from msr_cache.refusal import Refusal


def unpacked(bundle: Path) -> Path:
    """Return a bundle's folder, and unpack a new zip file beside itself."""
    if bundle.suffix != ".zip":
        folder = bundle
    else:
        # The same path in every run: Pulumi compares the provider's inputs.
        folder = bundle.with_suffix("")
        if bundle.is_file():
            _unpack(bundle, folder)
        elif not folder.is_dir():
            raise Refusal(
                f"msr-cache:swarm.clientBundle: found no file {bundle}, expected a client bundle: download it from MKE"
            )
    missing = [name for name in ("ca.pem", "cert.pem", "key.pem", "env.sh") if not (folder / name).is_file()]
    if missing:
        raise Refusal(
            f"msr-cache:swarm.clientBundle: found no {', '.join(missing)} in {folder}, "
            "expected a client bundle's folder or zip file: download it from MKE"
        )
    return folder


def _unpack(bundle: Path, folder: Path) -> None:
    """Update `folder` from the zip file: a renewed bundle has the name of the old one."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            if all(_holds(folder, entry) for entry in archive.infolist()):
                return
            with TemporaryDirectory(dir=folder.parent) as scratch:  # readable only for you
                archive.extractall(scratch)
                _move_all(Path(scratch), folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise Refusal(
            f"msr-cache:swarm.clientBundle: found {bundle}, which can't be unpacked ({error}): download it again"
        ) from None


def _move_all(source: Path, folder: Path) -> None:
    """Move files one by one: other threads read `folder` meanwhile, and must find no half-written file."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(source.rglob("*")):  # a folder comes before its files
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
    """Return the manager's address from the bundle's env.sh."""
    for line in (folder / "env.sh").read_text().splitlines():
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if name == "DOCKER_HOST":
            return value.strip("\"'")
    raise Refusal(
        f"msr-cache:swarm.clientBundle: found no DOCKER_HOST in {folder / 'env.sh'}: download the bundle again"
    )
