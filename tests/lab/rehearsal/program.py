"""A small program in a folder of its own, whose dynamic resources are files in folder `world`, and runs of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
PASSPHRASE = "a passphrase that must be nowhere"
FRANK = "This is the lab's rehearsal engine, not Pulumi"

PROJECT = """
name: small
runtime:
  name: python
  options: {toolchain: pip, virtualenv: .venv}
"""

THINGS = """
import json, os, time
from pathlib import Path
import pulumi
from pulumi.dynamic import (
    CheckFailure, CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult
)

WORLD = Path(__file__).parent / "world"


class FileProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds, news):
        wrong = [CheckFailure("value", f"{word} is wrong") for word in news.get("wrong") or []]
        return CheckResult(news, wrong)

    def create(self, props):
        if props.get("broken"):
            raise ValueError(f"{props['broken']} can't be made")
        time.sleep(float(os.environ.get("SLOW", "0")))
        WORLD.mkdir(exist_ok=True)
        (WORLD / props["file"]).write_text(json.dumps(props["value"]))
        time.sleep(float(os.environ.get("SLOW", "0")))
        return CreateResult(props["file"], {**props, "made": f"made {props['file']}", "key": "a key of 256 bits"})

    def read(self, id_, props):
        if not (WORLD / id_).exists():
            return ReadResult(None, {})
        now = {**props, "value": json.loads((WORLD / id_).read_text())}
        return ReadResult(id_, now, {key: item for key, item in now.items() if key not in ("made", "key")})

    def diff(self, id_, olds, news):
        keys = [key for key in ("file", "value") if olds.get(key) != news.get(key)]
        return DiffResult(bool(keys), ["file"] if "file" in keys else [], delete_before_replace=bool(news.get("first")))

    def update(self, id_, olds, news):
        (WORLD / id_).write_text(json.dumps(news["value"]))
        return UpdateResult({**news, "made": olds["made"], "key": olds["key"]})

    def delete(self, id_, props):
        time.sleep(float(os.environ.get("SLOW", "0")))
        (WORLD / id_).unlink(missing_ok=True)


class File(Resource):
    made: pulumi.Output[str]
    key: pulumi.Output[str]

    def __init__(self, name, value, opts=None, **props):
        props = {"file": name, "value": value, "made": None, "key": None, **props}
        secrets = pulumi.ResourceOptions(additional_secret_outputs=["key"])
        super().__init__(FileProvider(), name, props, pulumi.ResourceOptions.merge(secrets, opts))
"""

HEAD = "import pulumi\nfrom things import File\n"
Event = dict[str, Any]


@dataclass
class Run:
    """One command's end."""

    code: int
    out: str
    text: str
    """Standard output, then standard error."""
    events: list[Event]

    def operations(self) -> list[tuple[str, str]]:
        """Return what was done to which resource, besides leaving the same and looking."""
        quiet = ("same", "refresh")
        return [
            (event["op"], event["name"])
            for event in self.events
            if event["op"] not in quiet
            and event["type"] not in ("pulumi:pulumi:Stack", "pulumi:providers:pulumi-python")
        ]


@dataclass
class Program:
    """A project with one stack."""

    folder: Path
    passphrase: str = PASSPHRASE
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "Pulumi.yaml").write_text(PROJECT)
        (self.folder / "things.py").write_text(THINGS)
        venv = self.folder / ".venv"
        if not venv.exists():
            venv.symlink_to(sys.prefix)

    def write(self, body: str) -> None:
        (self.folder / "__main__.py").write_text(HEAD + body)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": self.passphrase,
            "PULUMI_STACK": "s",
            "PYTHONPATH": str(CHECKOUT),
            **self.extra,
        }

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "rehearsal" / "small" / "s.json"

    def world(self) -> dict[str, Any]:
        """Return what the program's resources have made."""
        return {path.name: json.loads(path.read_text()) for path in sorted((self.folder / "world").glob("*"))}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "lab.rehearsal", *words]

    def run(self, *words: str) -> Run:
        log = self.folder / "events"
        log.unlink(missing_ok=True)
        extra = () if words[0] == "stack" else ("--event-log", str(log))
        answer = subprocess.run(
            self.command(*words, *extra),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return Run(answer.returncode, answer.stdout, answer.stdout + answer.stderr, events)

    def must(self, *words: str) -> Run:
        run = self.run(*words)
        assert run.code == 0, run.text
        return run

    def up(self, body: str) -> Run:
        """Write the program and deploy it."""
        self.write(body)
        return self.must("up", "--yes")
