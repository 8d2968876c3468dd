"""A stack of the project as an operator has one: its config, Pulumi's commands, and all that they print."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.client import PullResult, pull
from lab.msr_api import ACCESS_TOKENS, PASSWORDS
from lab.pulumi.plugins import LAUNCHERS
from lab.site import Site

CHECKOUT = Path(__file__).resolve().parents[2]
PASSPHRASE = "a passphrase that must be nowhere"
NAME = "it"
"""The stack's name."""
STATE_FILE = f"state/.pulumi/stacks/msr-cache/{NAME}.json"
CACHE = "asia"
FQDN = "cache.asia.example.com"
PORT = 9443
KEY = {"keyType": "ecdsaP256"}
"""`tls` of a cache whose key is soon made and used."""

_LINES_OF_EC_KEY = 6
"""At most, up to P-521; an RSA key of 2048 bits has 26."""

INSTALLED, STAND_INS = "installed plugins", "the lab's stand-ins for plugins"

Operation = tuple[str, str, str]
"""What was done, to which type of resource, of which name."""


@dataclass
class Run:
    """One command: whether it succeeded, what it printed, what it did besides leaving things the same."""

    ok: bool
    text: str
    operations: list[Operation]
    seconds: float

    @property
    def words(self) -> str:
        """What it printed, without the spaces that Pulumi aligns columns by."""
        return re.sub(r" +", " ", self.text)

    def changed(self) -> set[str]:
        """Return the last words of the types that were changed in any way."""
        return {type_.rpartition("/")[2].rpartition(":")[2] for _, type_, _ in self.operations}


def operations(log: Path) -> list[Operation]:
    """Return what a run did, by its event log."""
    events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    steps = [event["resourcePreEvent"]["metadata"] for event in events if "resourcePreEvent" in event]
    return [
        (step["op"], step["type"], step["urn"].rpartition("::")[2])
        for step in steps
        if step["op"] not in ("same", "refresh")
    ]


@dataclass
class Stack:
    """Stack `it` in a folder of its own; by default with one cache on host port 9443 of the site's node."""

    folder: Path
    site: Site
    plugins: str = INSTALLED
    printed: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    known: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The outputs, by when the state was written: each of Pulumi's commands takes its time."""
    deployed: tuple[str, int] = "", 0
    """The config that was deployed last, and when the state was written then."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A copy: Pulumi records the selected stack per Pulumi.yaml and follows links, so links would share one record.
        shutil.copy(CHECKOUT / "Pulumi.yaml", self.folder)
        for name in ("__main__.py", "msr_cache", "requirements.txt"):
            (self.folder / name).symlink_to(CHECKOUT / name)
        (self.folder / ".venv").symlink_to(sys.prefix)
        for name in ("state", "tmp"):
            (self.folder / name).mkdir()
        self.configure()
        self.ask("stack", "init", NAME)

    @property
    def environment(self) -> dict[str, str]:
        path = os.environ["PATH"]
        return {
            "PATH": f"{LAUNCHERS}:{path}" if self.plugins == STAND_INS else path,
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_STACK": NAME,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "TMPDIR": str(self.folder / "tmp"),  # where the logs of caches that fail are kept
            "PULUMI_DEBUG_COMMANDS": "true",  # for --event-log
        }

    @property
    def config_file(self) -> Path:
        return self.folder / f"Pulumi.{NAME}.yaml"

    def config(self) -> dict[str, Any]:
        """Return the minimal configuration, what the lab's kernel asks for, and KEY."""
        return {
            "msr": {"url": self.site.msr.url},
            "swarm": {"host": self.site.engine.docker_host},
            "caches": {
                CACHE: {
                    "fqdn": FQDN,
                    "nodes": [self.site.engine.name],
                    "port": PORT,
                    "publishMode": "host",
                    "image": self.site.cache_image,
                    "tls": KEY,
                }
            },
        }

    def configure(self, cache: dict[str, Any] | None = None, **sections: Any) -> None:
        """Write the stack's config: the default one with keys of its cache, or whole sections, replaced."""
        config = self.config() | sections
        if cache and "caches" not in sections:
            config["caches"][CACHE] |= cache
        known = yaml.safe_load(self.config_file.read_text()) if self.config_file.exists() else {}
        known["config"] = {f"msr-cache:{key}": value for key, value in config.items()}
        self.config_file.write_text(yaml.safe_dump(known, sort_keys=False))

    def set_secret(self, path: str, value: str) -> None:
        """`pulumi config set --path --secret`, as an operator does it after the rest of the file is written."""
        self.given.add(value)
        self.ask("config", "set", "--path", "--secret", path, stdin=value)

    def restore(self, state: dict[str, Any]) -> None:
        """`pulumi stack import`."""
        self.ask("stack", "import", stdin=json.dumps(state))

    def preview(self, *words: str, refresh: bool = False, expect_no_changes: bool = False) -> Run:
        return self._run("preview", *words, refresh=refresh, expect_no_changes=expect_no_changes)

    def up(self, *words: str, refresh: bool = False) -> Run:
        return self._run("up", *words, refresh=refresh)

    def refresh(self) -> Run:
        return self._run("refresh")

    def destroy(self, *, refresh: bool = False) -> Run:
        self.note_secrets()
        return self._run("destroy", refresh=refresh)

    def end(self) -> None:
        """`destroy`, unless nothing is left."""
        if self.note_secrets():
            self.must(self._run("destroy"))

    def _run(self, command: str, *more: str, refresh: bool = False, expect_no_changes: bool = False) -> Run:
        log = self.folder / "events.log"
        log.unlink(missing_ok=True)
        flags = {
            "--yes": command != "preview",
            "--diff": command in ("preview", "up"),
            "--skip-preview": command == "up",
            "--refresh": refresh,
            "--expect-no-changes": expect_no_changes,
        }
        words = [command, *more, *(flag for flag, wanted in flags.items() if wanted), "--event-log", str(log)]
        started = time.monotonic()
        answer = self._pulumi(*words, "--non-interactive", "--color=never")
        seconds = time.monotonic() - started
        run = Run(answer.returncode == 0, answer.stdout + answer.stderr, operations(log), seconds)
        self.printed.append(run.text)
        return run

    def _pulumi(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *words],
            cwd=self.folder,
            env=os.environ | self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, run: Run) -> Run:
        """Return the run, which must have succeeded."""
        assert run.ok, run.text
        return run

    def deploy(self, **flags: bool) -> Run:
        """`up`, which must succeed."""
        run = self.must(self.up(**flags))
        self.deployed = self.config_file.read_text(), self.written()
        return run

    def keep_deployed(self) -> None:
        """`up`, unless the state was last written by an `up` of this config."""
        if self.deployed != (self.config_file.read_text(), self.written()):
            self.deploy()

    def outputs(self) -> dict[str, Any]:
        written = self.written()
        if written not in self.known:
            self.known = {written: json.loads(self.ask("stack", "output", "--json"))}
        found: dict[str, Any] = self.known[written]
        return found

    def written(self) -> int:
        """Return when the state was last written."""
        return (self.folder / STATE_FILE).stat().st_mtime_ns

    def export(self, *, show_secrets: bool = False) -> dict[str, Any]:
        words = ["stack", "export", *(["--show-secrets"] if show_secrets else [])]
        found: dict[str, Any] = json.loads(self.ask(*words, keep=not show_secrets))
        return found

    def resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.export()["deployment"].get("resources", [])
        return found

    def ask(self, *words: str, keep: bool = True, stdin: str | None = None) -> str:
        """Run any other command of Pulumi's, which must succeed; return what it prints."""
        answer = self._pulumi(*words, stdin=stdin)
        assert answer.returncode == 0, answer.stderr
        if keep:
            self.printed += [answer.stdout, answer.stderr]
        return answer.stdout

    def run_command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the program's own commands in the stack's folder."""
        command = [sys.executable, "-P", "-m", "msr_cache", *words]
        environment = os.environ | self.environment | {"PYTHONPATH": str(CHECKOUT)}
        answer = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        self.printed += [answer.stdout, answer.stderr]
        return answer

    def kill(self, command: str, when: Callable[[], object], by: signal.Signals = signal.SIGKILL) -> bool:
        """Start `command`, send its whole process group a signal as soon as `when` holds; False if it ended first."""
        log = self.folder / "killed.log"
        with log.open("wb") as output:
            run = subprocess.Popen(
                ["pulumi", command, "--yes"],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            while (running := run.poll() is None) and not when():
                time.sleep(0.01)
            if running:
                os.killpg(run.pid, by)
            run.wait()
        self.printed.append(log.read_text())
        return running

    def end_orphans(self) -> None:
        """End what killed runs have left running: Pulumi's host for dynamic resources outlives its engine."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.folder).encode() in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def unlock(self) -> None:
        """`pulumi cancel`, as Pulumi asks for after a killed run."""
        self._pulumi("cancel", "--yes")

    def pull(self, cache: str = CACHE) -> PullResult:
        """Pull the site's image through a cache, trusting what the stack's outputs say to trust and nothing else."""
        return self.pull_as(self.outputs(), cache)

    def pull_as(
        self, outputs: dict[str, Any], cache: str = CACHE, *, port: int | None = None, address: str = ""
    ) -> PullResult:
        """Pull by outputs that are known already; from another node's address than the manager's, if it is given."""
        told = outputs["caches"][cache]
        url = told["url"] if port is None else f"{told['url'].rpartition(':')[0]}:{port}"
        address = address or self.site.engine.address
        return pull(url, Site.app_repository, Site.app_tag, told["certificatePem"], address=address)

    def note_secrets(self) -> bool:
        """Take down pieces of the secrets in the state as it is now; return whether there is anything in it."""
        state = self.export(show_secrets=True)
        for text in _secret_texts(state):
            self.given.update(re.findall(r"\b[0-9a-f]{64}\b", text) if "http:" in text or len(text) == 64 else [])
            self.given |= key_pieces(text)
        return bool(state["deployment"].get("resources"))

    def secrets(self) -> set[str]:
        """Return the secrets that were given or taken down, none of which may be seen anywhere."""
        found = {PASSPHRASE, *self.given, *PASSWORDS.values(), *ACCESS_TOKENS.values()}
        for user, secret in (*PASSWORDS.items(), *ACCESS_TOKENS.items()):
            found.add(base64.b64encode(f"{user}:{secret}".encode()).decode())
        return found

    def seen(self) -> Iterable[tuple[str, str]]:
        """Return whatever somebody might read, by where it stands."""
        yield from ((f"printed by command {number}", text) for number, text in enumerate(self.printed))
        for path in self.folder.rglob("*"):
            if path.is_file() and ".venv" not in path.parts and "msr_cache" not in path.parts:
                yield str(path), path.read_text(errors="replace")


def key_pieces(text: str) -> set[str]:
    """Return of each private key in a text a line that holds private parts: RSA's middle, of an EC key the first."""
    blocks = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", text, re.DOTALL)
    return {lines[len(lines) // 2 if len(lines) > _LINES_OF_EC_KEY else 0] for lines in map(str.splitlines, blocks)}


def _secret_texts(state: Any) -> Iterable[str]:
    if isinstance(state, dict):
        if "plaintext" in state:
            yield from _strings(json.loads(state["plaintext"]))
            return
        state = list(state.values())
    if isinstance(state, list):
        for item in state:
            yield from _secret_texts(item)


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
