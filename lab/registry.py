"""Debian's docker-registry on an address of ours, and how an image gets into it."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from lab.process import Process, wait_until

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True)
class Registry:
    """A registry with its files in `data` and its run-time files in `run`, that listens on `address` in plain HTTP."""

    name: str
    address: str
    run: Path
    data: Path

    @property
    def process(self) -> Process:
        return Process(self.run / f"{self.name}.pid", self.data / f"{self.name}.log")

    def start(self) -> None:
        config = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.data / self.name)}, "delete": {"enabled": True}},
            "http": {"addr": self.address, "secret": self.name},
        }
        config_file = self.run / f"{self.name}.yml"
        config_file.write_text(json.dumps(config))  # JSON is YAML
        self.process.start("/usr/bin/docker-registry", "serve", config_file)
        wait_until(self._answers, f"the registry on {self.address} does not answer: see {self.process.log}", seconds=10)

    def digest(self, repository: str, tag: str) -> str | None:
        """The digest that a tag stands for; None when the registry does not hold it."""
        url = f"http://{self.address}/v2/{repository}/manifests/{tag}"
        response = requests.head(url, headers={"Accept": MANIFEST_TYPE}, timeout=10)
        return response.headers["Docker-Content-Digest"] if response.ok else None

    def push(self, repository: str, tag: str, layers: Sequence[bytes], config: Mapping[str, object]) -> None:
        """Push `layers` (uncompressed tars, lowest first); `config` is what `docker inspect` shows as Config."""
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_sha256(layer) for layer in layers]},
        }
        with TemporaryDirectory() as name:
            folder = Path(name)
            # No time stamp in a layer, so that it has the same digest on every machine.
            packed = [gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers]
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _add_blob(folder, _CONFIG_TYPE, json.dumps(image).encode()),
                "layers": [_add_blob(folder, _LAYER_TYPE, layer) for layer in packed],
            }
            (folder / "manifest.json").write_text(json.dumps(manifest))
            (folder / "version").write_text("Directory Transport Version: 1.1\n")
            target = f"docker://{self.address}/{repository}:{tag}"
            command = ("/usr/bin/skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"dir:{folder}", target)
            subprocess.run(command, check=True)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://{self.address}/v2/", timeout=1).ok
        except requests.ConnectionError:
            return False


def _add_blob(folder: Path, media_type: str, blob: bytes) -> dict[str, object]:
    """Write a blob as skopeo's `dir:` transport has it; return its descriptor."""
    digest = _sha256(blob)
    (folder / digest.removeprefix("sha256:")).write_bytes(blob)
    return {"mediaType": media_type, "size": len(blob), "digest": digest}


def tar(
    files: Mapping[str, tuple[int, bytes]], *, folders: Sequence[str] = (), links: Mapping[str, str] | None = None
) -> bytes:
    """A layer of `folders`, `files` (path -> mode, content) and `links` (path -> target), the same on every machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path, (mode, content) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
        for path, target in (links or {}).items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
