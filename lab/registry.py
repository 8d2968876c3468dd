"""Debian's docker-registry on an address of ours, and how an image gets into it."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from lab.errors import LabError
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

    def stop(self) -> None:
        self.process.stop()

    def is_running(self) -> bool:
        return self.process.pid() is not None

    def digest(self, repository: str, tag: str) -> str | None:
        """The digest that a tag stands for; None when the registry does not hold it."""
        response = requests.head(self._manifest_url(repository, tag), headers={"Accept": MANIFEST_TYPE}, timeout=10)
        return response.headers["Docker-Content-Digest"] if response.ok else None

    def push(self, repository: str, tag: str, layers: Sequence[bytes], config: Mapping[str, object]) -> None:
        """Push `layers` (uncompressed tars, lowest first); `config` is what `docker inspect` shows as Config."""
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_sha256(layer) for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self._push_blob(repository, _CONFIG_TYPE, json.dumps(image).encode()),
            "layers": [
                # No time stamp, so that the same layer has the same digest on every machine.
                self._push_blob(repository, _LAYER_TYPE, gzip.compress(layer, compresslevel=1, mtime=0))
                for layer in layers
            ],
        }
        response = requests.put(
            self._manifest_url(repository, tag),
            data=json.dumps(manifest),
            headers={"Content-Type": MANIFEST_TYPE},
            timeout=30,
        )
        _check(response)

    def _push_blob(self, repository: str, media_type: str, blob: bytes) -> dict[str, object]:
        digest = _sha256(blob)
        base = f"http://{self.address}/v2/{repository}/blobs"
        if not requests.head(f"{base}/{digest}", timeout=10).ok:
            upload = _check(requests.post(f"{base}/uploads/", timeout=10)).headers["Location"]
            _check(requests.put(upload, params={"digest": digest}, data=blob, timeout=60))
        return {"mediaType": media_type, "size": len(blob), "digest": digest}

    def _manifest_url(self, repository: str, tag: str) -> str:
        return f"http://{self.address}/v2/{repository}/manifests/{tag}"

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://{self.address}/v2/", timeout=1).ok
        except requests.ConnectionError:
            return False


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


def _check(response: requests.Response) -> requests.Response:
    if not response.ok:
        raise LabError(f"{response.request.method} {response.url}: {response.status_code} {response.text[:200]}")
    return response
