"""MKE's client bundle: a folder or zip file with a manager's address and the key for it."""

from __future__ import annotations

import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path
from tempfile import NamedTemporaryFile

from msr_cache.refusal import Refusal

_FILES = ("ca.pem", "cert.pem", "key.pem", "env.sh")
_LARGEST = 1 << 20
"""Bytes of one file: far above a chain of certificates."""
_AT = "msr-cache:swarm.clientBundle"


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
            raise Refusal(f"{_AT}: found no file {bundle}, expected a client bundle: download it from MKE")
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise Refusal(
            f"{_AT}: found no {', '.join(missing)} in {folder}, "
            "expected a client bundle's folder or zip file: download it from MKE"
        )
    return folder


def _unpack(bundle: Path, folder: Path) -> None:
    """Update `folder` from the zip file: a renewed bundle has the name of the old one."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            contents = {name: _content(archive, name) for name in _FILES if name in archive.namelist()}
        for name, content in contents.items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                _write(folder / name, content)
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, LZMAError) as error:
        # RuntimeError: encrypted; NotImplementedError, which is one: an unknown compression
        reason = str(error) or type(error).__name__
        raise Refusal(f"{_AT}: found {bundle}, which can't be unpacked ({reason}): download it again") from None


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{name} has more than {_LARGEST} bytes")
    return content


def _write(path: Path, content: bytes) -> None:
    """Write it for nobody else's eyes, at once: other threads read the folder meanwhile, and must find it whole."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as scratch:
        scratch.write(content)
    Path(scratch.name).replace(path)


def host(folder: Path) -> str:
    """Return the manager's address from the bundle's env.sh."""
    for line in (folder / "env.sh").read_text("utf-8", errors="replace").splitlines():
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if name == "DOCKER_HOST" and (address := value.strip("\"'")).startswith("tcp://"):
            return address
    raise Refusal(f"{_AT}: found no DOCKER_HOST=tcp://... in {folder / 'env.sh'}: download the bundle again")
