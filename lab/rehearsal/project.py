"""A project's folder and a stack of it: Pulumi.yaml, Pulumi.<stack>.yaml, and the passphrase for its secrets."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lab.rehearsal.errors import EngineError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast one where it is built in."""
_ROUNDS = 1_000_000  # Pulumi's passphrase provider: PBKDF2 with SHA-256, then AES-256-GCM
_CHECK = "pulumi"  # the text behind the salt, by which Pulumi tells a wrong passphrase
_PROJECT_KEYS = {"name", "description", "runtime"}
_STACK_KEYS = {"config", "encryptionsalt"}
_DAEMON = re.compile(r"(unix|tcp|ssh|npipe|fd)://")
_LAB_DAEMON = re.compile(r"unix:///run/msr-cache-lab[^/]*/(?!.*\.\./).+")


def refuse_other_swarms(where: str, host: str | None) -> None:
    """Raise EngineError unless `host` is the daemon of a lab."""
    if not _LAB_DAEMON.fullmatch(host or ""):
        message = (
            f"{where}: found {host or 'no host'}, allowed is a lab's docker host (unix:///run/msr-cache-lab...): "
            "this is the lab's rehearsal engine; for any other swarm use Pulumi"
        )
        raise EngineError(message)


class Crypter:
    """Encrypts and decrypts as Pulumi's passphrase provider does; making the key takes 0.3 s, in the background."""

    def __init__(self, salt: str, passphrase: str) -> None:
        version, encoded, self._check = salt.split(":", 2)
        if version != "v1":
            raise EngineError(f"encryptionsalt of version {version} is not implemented by the rehearsal engine")
        self.salt = salt
        self._key = _derive(passphrase, encoded)

    @classmethod
    def new(cls, passphrase: str) -> Crypter:
        encoded = base64.b64encode(os.urandom(8)).decode()
        crypter = cls(f"v1:{encoded}:", passphrase)
        crypter._check = crypter.encrypt(_CHECK)
        crypter.salt += crypter._check
        return crypter

    def verify(self) -> None:
        """Raise EngineError where the passphrase is not the one that the salt was made with."""
        from cryptography.exceptions import InvalidTag

        try:
            self.decrypt(self._check)
        except InvalidTag:
            raise EngineError("incorrect passphrase") from None

    def encrypt(self, text: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        sealed = AESGCM(self._key.result()).encrypt(nonce, text.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, text: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        _, nonce, sealed = text.split(":")
        return AESGCM(self._key.result()).decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None).decode()


@cache
def _derive(passphrase: str, salt: str) -> Future[bytes]:
    words = ("sha256", passphrase.encode(), base64.b64decode(salt), _ROUNDS)
    return ThreadPoolExecutor(1).submit(hashlib.pbkdf2_hmac, *words)


@dataclass
class Project:
    """Where a program lives, and one stack of it."""

    folder: Path
    name: str
    stack: str
    backend: Path
    crypter: Crypter
    settings: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, stack: str | None) -> Project:
        """Read the files of `folder`; a stack that has no salt yet is given one, as `pulumi stack init` does."""
        about = _read(folder / "Pulumi.yaml", _PROJECT_KEYS)
        runtime = about["runtime"] if isinstance(about["runtime"], dict) else {"name": about["runtime"]}
        if runtime["name"] != "python" or set(runtime.get("options", {})) - {"toolchain", "virtualenv"}:
            raise EngineError("Pulumi.yaml: runtime: only python, with toolchain and virtualenv, is implemented")
        stack = stack or os.environ.get("PULUMI_STACK")
        if not stack:
            raise EngineError("no stack is named: give --stack or set PULUMI_STACK")
        url = os.environ.get("PULUMI_BACKEND_URL", "")
        if not url.startswith("file://"):
            raise EngineError("PULUMI_BACKEND_URL: only file://FOLDER is implemented")
        passphrase = os.environ.get("PULUMI_CONFIG_PASSPHRASE")
        if passphrase is None:
            raise EngineError("the passphrase must be set with the environment variable PULUMI_CONFIG_PASSPHRASE")
        file = folder / f"Pulumi.{stack}.yaml"
        settings = _read(file, _STACK_KEYS) if file.exists() else {}
        crypter = Crypter(settings["encryptionsalt"], passphrase) if "encryptionsalt" in settings else None
        if crypter is None:
            crypter = Crypter.new(passphrase)
            with file.open("a") as lines:
                lines.write(f"encryptionsalt: {crypter.salt}\n")
        backend = Path(url.removeprefix("file://")).expanduser()
        return cls(folder, about["name"], stack, backend, crypter, settings.get("config") or {})

    @property
    def state_file(self) -> Path:
        return self.backend / "rehearsal" / self.name / f"{self.stack}.json"

    def config(self) -> tuple[dict[str, str], list[str]]:
        """Return the stack's config as the SDK takes it, and the keys that hold secrets."""
        texts, secret_keys = {}, []
        for key, value in self.settings.items():
            full = key if ":" in key else f"{self.name}:{key}"
            known, is_secret = self._decrypted(value)
            for text in _strings(known):
                if _DAEMON.match(text):
                    refuse_other_swarms(full, text)
            texts[full] = known if isinstance(known, str) else json.dumps(known, separators=(",", ":"), sort_keys=True)
            if is_secret:
                secret_keys.append(full)
        return texts, secret_keys

    def _decrypted(self, value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - YAML
        if isinstance(value, dict) and set(value) == {"secure"}:
            return self.crypter.decrypt(value["secure"]), True
        if isinstance(value, dict):
            items = {key: self._decrypted(item) for key, item in value.items()}
            return {key: item for key, (item, _) in items.items()}, any(found for _, found in items.values())
        if isinstance(value, list):
            parts = [self._decrypted(item) for item in value]
            return [item for item, _ in parts], any(found for _, found in parts)
        return value, False


def _read(file: Path, known: set[str]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = yaml.load(file.read_text(), Loader=LOADER) or {}  # noqa: S506 - safe
    except FileNotFoundError:
        raise EngineError(f"no {file.name} in {file.parent}") from None
    if others := set(found) - known:
        raise EngineError(f"{file.name}: {', '.join(sorted(others))}: not implemented by the rehearsal engine")
    return found


def _strings(value: Any) -> list[str]:  # noqa: ANN401 - YAML
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _strings(part)]
