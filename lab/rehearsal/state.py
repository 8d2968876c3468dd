"""A stack's state: its resources in the order in which they were made, in a file that is written after each step."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.rehearsal.errors import EngineError
from lab.rehearsal.project import Crypter, Project
from lab.rehearsal.values import SIGNATURE, Props, is_secret, plain, secret

STACK = "pulumi:pulumi:Stack"
PROVIDERS = "pulumi:providers:"


@dataclass
class Resource:
    """A resource as the state keeps it; the names are those of Pulumi's own export."""

    urn: str
    type: str
    custom: bool = False
    id: str = ""
    inputs: Props = field(default_factory=dict)
    outputs: Props = field(default_factory=dict)
    parent: str = ""
    dependencies: list[str] = field(default_factory=list)
    provider: str = ""
    propertyDependencies: dict[str, list[str]] = field(default_factory=dict)  # noqa: N815
    additionalSecretOutputs: list[str] = field(default_factory=list)  # noqa: N815
    initErrors: list[str] = field(default_factory=list)  # noqa: N815
    delete: bool = False
    """Replaced already, and to be deleted at the end of this run or of the next."""

    @property
    def name(self) -> str:
        return self.urn.rpartition("::")[2]

    @property
    def is_default_provider(self) -> bool:
        """Whether the engine itself declared it, which summaries leave out."""
        return self.type.startswith(PROVIDERS) and self.name == "default"


class State:
    """The resources of a stack and what was under way when the last run ended."""

    def __init__(self, file: Path, crypter: Crypter) -> None:
        self.file = file
        self.crypter = crypter
        self.resources: list[Resource] = []
        self.pending: set[str] = set()
        """URNs of creates that were begun: of a killed run they may have left something that no state knows."""

    @classmethod
    def load(cls, project: Project) -> State:
        """Read the stack's state, empty if there is none; a wrong passphrase ends here."""
        project.crypter.verify()
        state = cls(project.state_file, project.crypter)
        if state.file.exists():
            found = json.loads(state.file.read_text())
            if found["salt"] != project.crypter.salt:
                raise EngineError(f"{state.file} was written with another encryptionsalt than the stack's file has now")
            state.resources = [Resource(**_opened(item, project.crypter.decrypt)) for item in found["resources"]]
            state.pending = set(found["pending"])
        return state

    def save(self) -> None:
        """Write it so that a run killed at any moment leaves the former or the new state, whole."""
        content = {
            "salt": self.crypter.salt,
            "pending": sorted(self.pending),
            "resources": self.export(self.crypter.encrypt),
        }
        new = self.file.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(content, out)
        new.replace(self.file)

    def export(self, seal: Callable[[str], str] | None) -> list[Props]:
        """Return the resources as JSON, secrets sealed by `seal`, or readable without one."""
        kept = {item.name for item in fields(Resource)} - {"urn", "type", "custom"}
        return [
            {key: value for key, value in _sealed(asdict(resource), seal).items() if value or key not in kept}
            for resource in self.resources
        ]

    @property
    def outputs(self) -> Props:
        return next((resource.outputs for resource in self.resources if resource.type == STACK), {})


def _sealed(value: Any, seal: Callable[[str], str] | None) -> Any:  # noqa: ANN401 - JSON
    if is_secret(value):
        text = json.dumps(plain(value), separators=(",", ":"))
        mark = {key: item for key, item in value.items() if key != "value"}
        return mark | ({"ciphertext": seal(text)} if seal else {"plaintext": text})
    if isinstance(value, dict):
        return {key: _sealed(item, seal) for key, item in value.items()}
    return [_sealed(item, seal) for item in value] if isinstance(value, list) else value


def _opened(value: Any, open_: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and SIGNATURE in value:
        return secret(json.loads(open_(value["ciphertext"])))
    if isinstance(value, dict):
        return {key: _opened(item, open_) for key, item in value.items()}
    return [_opened(item, open_) for item in value] if isinstance(value, list) else value


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the stack's lock, which the kernel lets go when its holder ends, however it ends."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"the stack is currently locked by another run: {lock.read().strip()}. Wait for it to end"
            raise EngineError(message) from None
        lock.truncate()
        lock.write(f"pid {os.getpid()}, user {getpass.getuser()}, since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
        lock.flush()
        yield
