"""A swarm's manager in memory: the Engine API as far as the product uses it, and its refusals.

The fixture `by_hand` runs the same tests on it and on the lab's engine. What passes here and fails there is a fault of
this file.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from docker import APIClient
from requests.adapters import BaseAdapter

from msr_cache.swarm.connection import Answer
from msr_cache.swarm.manager import Address, Manager

Object = dict[str, Any]
LARGEST = {"configs": 1000 * 1024, "secrets": 500 * 1024}
"""Bytes (swarmkit, controlapi/config.go and api/validation/secrets.go)."""
MOUNTS = {"configs": ("Configs", "ConfigID"), "secrets": ("Secrets", "SecretID")}


class Clock:
    """Stands in for the module `time`: sleeping is what makes it go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Refused(Exception):  # noqa: N818 - the engine's answer
    """An error's status and message; status 0: no answer at all."""


class Engine(BaseAdapter):
    """Schedules tasks at once and runs them, but those of an image called `crash`; or lives by a script (`then`)."""

    def __init__(self, *nodes: Object, clock: Clock | None = None) -> None:
        super().__init__()
        self.kinds: dict[str, dict[str, Object]] = {
            kind: {} for kind in ("nodes", "services", "tasks", "configs", "secrets", "networks")
        }
        self.registry: Object | None = None
        """What the registry of every image tells."""
        self.log = b""
        self.faults: Iterator[tuple[int, str]] = iter(())
        """The next answers, errors."""
        self.login: Object = {}
        """The login for a registry in the last request."""
        self.conflicts = 0
        """How many updates others come before, by a label of their own."""
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self._clock, self._lock, self._index = clock or Clock(), threading.RLock(), 0
        self._start = self._clock.now
        self._script: list[tuple[float, str, list[Object], str]] = []
        for each in nodes:
            self.add("nodes", each.pop("Spec"), **each)
        self.manager = Manager(Address(host="unix:///in-memory"))
        self.manager._connection = self  # type: ignore[assignment]

    # What a test does

    def add(self, kind: str, spec: Object, **fields: Any) -> Object:
        """Put an object there, without a look at whether the engine would take it."""
        self._index += 1
        known = {"ID": f"created-{self._index}", "Version": {"Index": self._index}, "Spec": spec, **fields}
        self.kinds[kind][known["ID"]] = known
        return known

    def then(self, second: float, tasks: Iterable[Object], update: str = "", nodes: str = "") -> Engine:
        """From `second` on every service has these tasks, its update this state, and each node another, if given."""
        self._script.append((second, update, list(tasks), nodes))
        return self

    def docker(self) -> APIClient:
        """Return docker's own client, which the product does without."""
        client = APIClient("tcp://in-memory:2375", version="1.41")
        client.mount("http://", self)
        return client

    @property
    def service(self) -> Object:
        """The first service."""
        return next(iter(self.kinds["services"].values()))

    @property
    def seconds(self) -> float:
        return self._clock.now - self._start

    @property
    def created(self) -> list[Object]:
        """The specs of all creates."""
        return [body for _, path, _, body in self.asked if path.endswith("/create")]

    def names(self, kind: str = "services") -> set[str]:
        """Return what there is now."""
        return {each["Spec"]["Name"] for each in self.kinds[kind].values()}

    # What the engine does

    def ask(self, method: str, url: str, body: Object | None = None, more: Mapping[str, str] | None = None) -> Answer:
        """In the place of the product's connection."""
        parts = urlsplit(url)
        path, query = unquote(parts.path).removeprefix("/v1.41"), dict(parse_qsl(parts.query))
        with self._lock:
            self.login = json.loads(b64decode((more or {}).get("X-Registry-Auth", "e30=")))
            self.asked.append((method, path, query, deepcopy(body)))
            try:
                status, found = 200, self._answer(method, path.split("/")[1:], query, body)
            except Refused as error:
                status, said = error.args
                if not status:
                    raise OSError(said) from None
                found = {"message": said}
        return Answer(status, "", found if isinstance(found, bytes) else json.dumps(found).encode(), 0)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """In the place of the connection of docker's own client."""
        body = json.loads(request.body) if request.body else None
        answer = requests.Response()
        answer.request, answer.url = request, str(request.url)
        found = self.ask(str(request.method), answer.url, body)
        answer.status_code, answer._content = found.status, found.body
        return answer

    def close(self) -> None:
        pass

    def _answer(self, method: str, path: list[str], query: Mapping[str, str], body: Any) -> Any:
        if fault := next(self.faults, None):
            raise Refused(*fault)
        if method == "GET":
            return self._read(path, query)
        match method, path:
            case "POST", [kind, "create"]:
                return {"Id" if kind == "networks" else "ID": self._create(kind, body)["ID"]}
            case "POST", [kind, id_, "update"]:
                return self._update(kind, self._one(kind, id_), query, body)
            case "DELETE", [kind, id_]:
                return self._remove(kind, self._one(kind, id_))
        raise Refused(404, "page not found")

    def _read(self, path: list[str], query: Mapping[str, str]) -> Any:
        match path:
            case ["distribution", *_, "json"]:
                if self.registry is None:
                    raise Refused(404, "manifest unknown: manifest unknown")
                return self.registry
            case ["tasks", _, "logs"]:
                return self.log
            case [kind]:
                return self._list(kind, json.loads(query.get("filters", "{}")))
            case [kind, name]:
                return self._shown(kind, self._one(kind, name))
        raise Refused(404, "page not found")

    def _one(self, kind: str, name: str) -> Object:
        found = self.kinds[kind].get(name)
        named = (each for each in self.kinds[kind].values() if each["Spec"].get("Name") == name)
        if (found := found or next(named, None)) is None:
            raise Refused(404, f"{kind[:-1]} {name} not found")
        return found

    def _shown(self, kind: str, known: Object) -> Object:
        shown = deepcopy(known)
        if kind == "secrets":
            shown["Spec"].pop("Data", None)
        if kind == "networks":
            return {"Id": known["ID"], **shown["Spec"]}
        if kind == "services":
            shown.setdefault("Endpoint", {})["Ports"] = (shown["Spec"].get("EndpointSpec") or {}).get("Ports") or []
            if self._script and (update := self._now()[1]):
                shown["UpdateStatus"] = {"State": update}
        if kind == "nodes" and self._script and (state := self._now()[3]):
            shown["Status"]["State"] = state
        return shown

    def _now(self) -> tuple[float, str, list[Object], str]:
        return [(0, "", [], ""), *(entry for entry in self._script if entry[0] <= self.seconds)][-1]

    def _list(self, kind: str, filters: dict[str, list[str]]) -> list[Object]:
        allowed = {"tasks": {"service", "_up-to-date"}}.get(kind, {"label"})
        if strange := filters.keys() - allowed:
            raise Refused(400, f"invalid filter '{strange.pop()}'")
        if kind == "tasks":
            services = [self._one("services", name)["ID"] for name in filters.get("service", self.kinds["services"])]
            tasks = [task for service in services for task in self._tasks(service)]
            return [task for task in tasks if not ("_up-to-date" in filters and task.get("former"))]
        wanted = [label.partition("=") for label in filters.get("label", [])]
        return [
            self._shown(kind, each)
            for each in self.kinds[kind].values()
            if all(key in (labels := _labels(each)) and (not is_ or labels[key] == value) for key, is_, value in wanted)
        ]

    def _create(self, kind: str, spec: Object) -> Object:
        if any(each["Spec"]["Name"] == spec["Name"] for each in self.kinds[kind].values()):
            raise Refused(409, f"rpc error: code = AlreadyExists desc = {kind[:-1]} {spec['Name']} already exists")
        if kind in LARGEST and not 0 < len(spec["Data"]) * 3 // 4 - spec["Data"].count("=") < LARGEST[kind]:
            raise Refused(400, f"{kind[:-1]} data must be larger than 0 and less than {LARGEST[kind]} bytes")
        for mounted, (field, id_) in MOUNTS.items() if kind == "services" else ():
            for each in spec["TaskTemplate"]["ContainerSpec"].get(field) or []:
                self._one(mounted, each[id_])
        return self.add(kind, spec)

    def _update(self, kind: str, known: Object, query: Mapping[str, str], spec: Object) -> Object:
        if self.conflicts:
            self.conflicts -= 1
            self._index += 1
            known["Spec"]["Labels"]["rack"], known["Version"]["Index"] = str(self.conflicts), self._index
        if query.get("version") != str(known["Version"]["Index"]):
            raise Refused(500, "rpc error: code = Unknown desc = update out of sequence")
        if kind in LARGEST and {**spec, "Labels": 0, "Data": 0} != {**known["Spec"], "Labels": 0, "Data": 0}:
            raise Refused(400, "only updates to Labels are allowed")
        if kind == "services" and spec["TaskTemplate"] != known["Spec"]["TaskTemplate"]:
            for task in self._tasks(known["ID"]):
                task |= {"former": True, "DesiredState": "shutdown"}
        self._index += 1
        known |= {"Spec": {**known["Spec"], **spec}, "Version": {"Index": self._index}}
        return {}

    def _remove(self, kind: str, known: Object) -> Object:
        field, id_ = MOUNTS.get(kind, ("", ""))
        for service in self.kinds["services"].values():
            if known["ID"] in [each["Target"] for each in service["Spec"]["TaskTemplate"].get("Networks") or []]:
                raise Refused(400, f"network {known['ID']} is in use by service {service['ID']}")
            mounted = (service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}).get(field) or [] if field else []
            if known["ID"] in [each[id_] for each in mounted]:
                name, user = known["Spec"]["Name"], service["Spec"]["Name"]
                raise Refused(400, f"{kind[:-1]} '{name}' is in use by the following service: {user}")
        del self.kinds[kind][known["ID"]]
        return {}

    def _tasks(self, service_id: str) -> list[Object]:
        """Return a service's tasks, as a scheduler leaves them that is always done."""
        if self._script:
            return self._now()[2]
        spec, all_tasks = self.kinds["services"][service_id]["Spec"], self.kinds["tasks"]
        template = spec.get("TaskTemplate") or {}
        may_stay = [id_ for id_, node in self.kinds["nodes"].items() if _fits(node, template)]
        fit = [id_ for id_ in may_stay if self.kinds["nodes"][id_]["Spec"]["Availability"] == "active"]
        own = [task for task in all_tasks.values() if task["ServiceID"] == service_id]
        alive = [task for task in own if task["DesiredState"] == "running" and not task.get("former")]
        if "Mode" not in spec:
            return own
        wanted = spec["Mode"]["Replicated"]["Replicas"]
        for task in alive[:]:
            if task.get("NodeID") not in may_stay:
                alive.remove(task)
                task |= {"DesiredState": "shutdown", "Status": _status("shutdown")}
        for task in alive[: max(0, len(alive) - wanted)]:  # a service that is scaled down forgets them
            alive.remove(task)
            own.remove(task)
            del all_tasks[task["ID"]]
        crashes = "crash" in template.get("ContainerSpec", {}).get("Image", "")
        for number in range(len(alive), wanted):
            status = _status("running") if fit else _status("pending", "no suitable node (scheduling constraints not)")
            placed = {"NodeID": fit[number % len(fit)]} if fit else {}
            if crashes:
                status = _status("failed", "task: non-zero exit (3)", ContainerStatus={"ExitCode": 3})
            state = {"DesiredState": "shutdown" if crashes else "running", "Status": status}
            own.append(self.add("tasks", {}, ServiceID=service_id, **placed, **state))
        return own


def _labels(known: Object) -> dict[str, str]:
    return known["Spec"].get("Labels") or {}


def _status(state: str, err: str = "", **more: Any) -> Object:
    return {"State": state, "Timestamp": "2024-05-01T10:00:00.5Z", **({"Err": err} if err else {}), **more}


def _fits(node: Object, template: Object) -> bool:
    found = {
        "node.id": node["ID"],
        "node.role": node["Spec"].get("Role"),
        "node.hostname": node["Description"]["Hostname"],
    }
    found |= {f"node.labels.{key}": value for key, value in _labels(node).items()}
    wanted = (constraint.split(" == ") for constraint in (template.get("Placement") or {}).get("Constraints") or [])
    ready = node["Status"]["State"] == "ready" and node["Spec"]["Availability"] != "drain"
    return ready and all(found.get(key) == value for key, value in wanted)
