"""Debian's docker-registry on an address of ours, and how an image gets into it."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import requests

from lab.process import Process, wait_until

_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


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
        wait_until(self._answers, f"the registry on {self.address} does not answer: see {self.process.log}")

    def digest(self, repository: str, tag: str) -> str | None:
        """The digest that a tag stands for; None when the registry does not hold it."""
        url = f"http://{self.address}/v2/{repository}/manifests/{tag}"
        response = requests.head(url, headers={"Accept": _MANIFEST_TYPE}, timeout=10)
        return response.headers["Docker-Content-Digest"] if response.ok else None

    def push(self, repository: str, tag: str, layers: Sequence[bytes], config: Mapping[str, object]) -> None:
        """Push `layers` (uncompressed tars, lowest first); `config` is what `docker inspect` shows as Config."""
        parts = {f"{number}.tar": layer for number, layer in enumerate(layers)}
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]}
        image = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": rootfs}
        about = {"config.json": image, "manifest.json": [{"Config": "config.json", "Layers": list(parts)}]}
        parts |= {name: json.dumps(part).encode() for name, part in about.items()}
        with NamedTemporaryFile() as archive:  # as `docker save` writes it
            archive.write(tar({name: (0o644, part) for name, part in parts.items()}))
            archive.flush()
            target = f"docker://{self.address}/{repository}:{tag}"
            command = ("/usr/bin/skopeo", "copy", "--quiet", "--dest-tls-verify=false")
            subprocess.run([*command, f"docker-archive:{archive.name}", target], check=True)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://{self.address}/v2/", timeout=1).ok
        except requests.ConnectionError:
            return False


def tar(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An archive of `files` (path -> mode, content), the same on every machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (mode, content) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
