"""What the unit tests share: a stack's config, a swarm that lives by a script, and a recorder of what is declared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import pytest

from msr_cache import convergence
from msr_cache.settings import Settings, load
from msr_cache.swarm import NOT_FOUND, Address, EngineError, Manager

PROJECT = "msr-cache"
THREE_FACTS: dict[str, Any] = {
    "msr": {"url": "https://msr.example.com"},
    "swarm": {"host": "ssh://ops@manager-1.example.com"},
    "caches": {"asia": {"fqdn": "cache.asia.example.com", "nodes": ["worker-7"]}},
}
ABSENT: Any = object()
"""As a value: the key is left out."""


def with_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the three facts with a value at each key path; a path that begins with a dot is cache asia's."""
    config = deepcopy(THREE_FACTS)
    for path, value in changes.items():
        *parents, last = (f"caches.asia{path}" if path.startswith(".") else path).split(".")
        place = config
        for part in parents:
            place = place.setdefault(part, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return config


def as_engine_gives(config: Mapping[str, Any]) -> dict[str, str]:
    """Full keys to text, or to JSON where the stack's file has a map or a list there."""
    return {f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def settings_with(changes: Mapping[str, Any] | None = None) -> Settings:
    return load(as_engine_gives(with_changes(changes or {})), PROJECT)


class Clock:
    """Stands in for the module `time`: sleeping is what makes it go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let convergence wait in no time."""
    clock = Clock()
    monkeypatch.setattr(convergence, "time", clock)
    return clock


def task(
    id_: str, state: str, err: str = "", *, desired: str = "running", former: bool = False, **more: Any
) -> dict[str, Any]:
    """Return a task as `GET /tasks` lists it; `former`: of the spec before the current one."""
    status = {"State": state, "Timestamp": "2024-05-01T10:00:00.5Z", **more}
    if err:
        status["Err"] = err
    return {"ID": id_, "NodeID": "node-1", "DesiredState": desired, "Status": status, "former": former}


class ScriptedSwarm(Manager):
    """A manager whose one service is at each second what the script says; it keeps what is created and removed."""

    def __init__(self, clock: Clock | None = None, replicas: int = 1) -> None:
        super().__init__(Address(host="unix:///nowhere"))
        self._clock = clock or Clock()
        self._start = self._clock.now
        self._script: list[tuple[float, str, list[dict[str, Any]]]] = [(0, "", [])]
        self.service: dict[str, Any] = {
            "ID": "service-1",
            "Spec": {"Name": "asia_cache", "Mode": {"Replicated": {"Replicas": replicas}}, "Labels": {}},
            "Endpoint": {},
        }
        self.log = b""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.services: list[dict[str, Any]] = []
        self.created: list[dict[str, Any]] = []
        self.removed: list[str] = []

    @property
    def seconds(self) -> float:
        return self._clock.now - self._start

    def then(self, second: float, tasks: Iterable[dict[str, Any]], update: str = "") -> ScriptedSwarm:
        """From `second` on the service has these tasks, and its update this state."""
        self._script.append((second, update, list(tasks)))
        return self

    def get(self, path: str, **filters: list[str]) -> Any:
        _, update, tasks = [entry for entry in self._script if entry[0] <= self.seconds][-1]
        match path.split("/")[1:]:
            case ["tasks"]:
                assert filters["service"] in (["service-1"], ["created-1"])
                return [task for task in tasks if not (task["former"] and "_up-to-date" in filters)]
            case ["services"]:
                return self.services
            case ["services", "service-1" | "asia_cache"]:
                return self.service | ({"UpdateStatus": {"State": update}} if update else {})
            case ["nodes", "node-1"]:
                return {"Description": {"Hostname": "worker-7"}}
        raise EngineError("unix:///nowhere", NOT_FOUND, f"{path} not found")

    def text(self, path: str, **params: str) -> bytes:
        self.asked.append((path, params))
        return self.log

    def create(self, kind: str, spec: Mapping[str, Any]) -> str:
        self.created.append({"kind": kind, **spec})
        return f"created-{len(self.created)}"

    def remove(self, kind: str, id_: str) -> None:
        self.removed.append(f"{kind}/{id_}")


@pytest.fixture
def swarm(clock: Clock) -> ScriptedSwarm:
    return ScriptedSwarm(clock)


@pytest.fixture
def swarm_of(clock: Clock) -> Callable[[int], ScriptedSwarm]:
    """Make a swarm whose service has so many replicas."""
    return lambda replicas: ScriptedSwarm(clock, replicas)
