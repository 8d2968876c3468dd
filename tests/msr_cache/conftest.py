"""What the unit tests share: a stack's config, a swarm that lives by a script, and a recorder of what is declared."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pulumi
import pytest
from docker import APIClient
from google.protobuf import empty_pb2
from pulumi.dynamic import Config, ConfigureRequest
from pulumi.runtime import config as pulumi_config
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2

from lab import images
from lab.authority import issue
from lab.site import Site
from msr_cache import progress, stack
from msr_cache.config import plain_text
from msr_cache.config.settings import Settings
from msr_cache.config.validation import read, validate
from msr_cache.refusal import Refusal
from msr_cache.resources import msr_provider
from msr_cache.resources.provider import SwarmProvider
from msr_cache.rollout import convergence
from msr_cache.swarm.manager import Address, Manager
from msr_cache.swarm.nodes import Node
from msr_cache.swarm.ownership import Owner
from tests.msr_cache.by_hand import KINDS, ByHand
from tests.msr_cache.engine import Clock, Engine

STATE_ID = "a0b1c2d3e4f5"
P = TypeVar("P", bound=SwarmProvider)

PROJECT, STACK = "msr-cache", "prod"
THREE_FACTS: dict[str, Any] = {
    "msr": {"url": "https://msr.example.com"},
    "swarm": {"host": "ssh://ops@manager-1.example.com"},
    "caches": {"asia": {"fqdn": "cache.asia.example.com", "nodes": ["worker-7"]}},
}
ABSENT: Any = Enum("Absent", ["ABSENT"]).ABSENT  # type: ignore[attr-defined]
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


def load(config: Mapping[str, str]) -> Settings:
    """Return the settings, or raise Refusal with a line for every mistake."""
    raw = read(config, PROJECT)
    settings, found = validate(raw)
    found += plain_text.mistakes(raw, {}, PROJECT)
    if settings is None or found:
        raise Refusal("\n".join(mistake.line(PROJECT) for mistake in found))
    return settings


def settings_with(changes: Mapping[str, Any] | None = None) -> Settings:
    return load(as_engine_gives(with_changes(changes or {})))


def mistakes(changes: Mapping[str, Any]) -> list[str]:
    """Return the line of each mistake in the three facts with `changes`."""
    with pytest.raises(Refusal) as caught:
        settings_with(changes)
    return str(caught.value).splitlines()


@pytest.fixture
def secret_config() -> Iterator[None]:
    """As after `pulumi config set --path --secret` of a key in each section."""
    token = pulumi_config._SECRET_KEYS.set(
        {f"{PROJECT}:{section}" for section in ("caches", "localCa", "msr", "imageRegistries")}
    )
    yield
    pulumi_config._SECRET_KEYS.reset(token)


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the logs of tasks that fail go where pytest clears up."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(autouse=True)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let convergence wait in no time, but for the lab's swarm: a wait that should end at once would last minutes."""
    clock = Clock()
    for module in (convergence, progress) if request.node.get_closest_marker("swarm") is None else ():
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the lines that pulumi.log.info is given."""
    lines: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lines.append)
    return lines


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the warnings that pulumi.log.warn is given."""
    warnings: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", warnings.append)
    msr_provider._warn.cache_clear()
    return warnings


def task(
    id_: str, state: str, err: str = "", *, desired: str = "running", former: bool = False, **more: Any
) -> dict[str, Any]:
    """Return a task as `GET /tasks` lists it; `former`: of the spec before the current one."""
    status = {"State": state, "Timestamp": "2024-05-01T10:00:00.5Z", **more}
    if err:
        status["Err"] = err
    return {"ID": id_, "NodeID": "node-1", "DesiredState": desired, "Status": status, "former": former}


def node(name: str, state: str = "ready", availability: str = "active", id_: str = "", **labels: str) -> Node:
    """Return a node as `GET /nodes` lists it; its id is made of its host name, unless given."""
    return {
        "ID": id_ or f"id-of-{name}",
        "Description": {"Hostname": name},
        "Status": {"State": state},
        "Spec": {"Availability": availability, "Role": "worker", "Labels": labels},
    }


def listing(
    *nodes: Node,
    running_on: tuple[str, ...] = (),
    key: str | None = "dtr.cache",
    state: str | None = STATE_ID,
    **spec: Any,
) -> Engine:
    """Return a swarm of these nodes; its one service, if there are tasks, runs where label `key` is (None: anywhere).

    `state` is the id in the service's labels; None: an earlier version made it. Without a `Mode` its tasks stay as they
    are.
    """
    swarm = Engine(*deepcopy(nodes))
    if running_on:
        placement = {"Constraints": [f"node.labels.{key} == true"]} if key else {}
        labels = Owner(PROJECT, STACK, "asia", state).labels("service")
        labels = {name: value for name, value in labels.items() if value}
        template = {"Placement": placement, "ContainerSpec": {"Image": "cache:1"}}
        service = swarm.add(
            "services", {"Name": "asia_cache", "Labels": labels, "TaskTemplate": template, "EndpointSpec": {}, **spec}
        )
        for name in running_on:
            placed = {"NodeID": f"id-of-{name}", "ServiceID": service["ID"]}
            swarm.add("tasks", {}, **{**task(f"on-{name}", "running"), **placed})
    return swarm


def refusing(status: int, said: str = "refused") -> Manager:
    """Return a manager that answers everything with one error."""
    swarm = Engine()
    swarm.faults = repeat((status, said))
    return swarm.manager


@pytest.fixture
def swarm(clock: Clock) -> Engine:
    """Give a swarm with one service, which has no tasks until the script (`then`) says so."""
    return scripted(clock)


@pytest.fixture
def swarm_of(clock: Clock) -> Callable[[int], Engine]:
    """Make a swarm whose service has so many replicas."""
    return lambda replicas: scripted(clock, replicas)


def scripted(clock: Clock, replicas: int = 1) -> Engine:
    swarm = Engine(node("worker-7", id_="node-1"), clock=clock).then(0, [])
    spec = {"Name": "asia_cache", "Mode": {"Replicated": {"Replicas": replicas}}, "Labels": {}, "TaskTemplate": {}}
    swarm.add("services", spec, ID="service-1")
    return swarm


def message(act: Callable[[], object]) -> str:
    """Return the one line that `act` refuses with."""
    with pytest.raises(Refusal) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Dynamic providers, called as the engine's plugin host calls them.


def configured(provider: P, docker_host: str) -> P:
    """Return `provider` with a stack's config that leads to the manager at `docker_host`."""
    raw = {f"{PROJECT}:swarm": json.dumps({"host": docker_host})}
    provider.configure(ConfigureRequest(Config(raw, PROJECT)))
    return provider


def with_manager(provider: P, manager: Manager) -> P:
    """Return `provider` with a manager that is none."""
    provider._local = SimpleNamespace(manager=manager)  # type: ignore[assignment]
    return provider


def refusal(provider: SwarmProvider, news: Mapping[str, Any], olds: Mapping[str, Any] | None = None) -> str:
    """Return the one line that a check refuses with, as the engine prints it."""
    return message(lambda: provider.check({**(olds or {})}, {**news}))


@contextmanager
def listening(handle: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Give host and port of a server that handles each connection so."""

    def serve_one(plain: socket.socket) -> None:
        try:
            with tls.wrap_socket(plain, server_side=True) if tls else plain as connection:
                handle(connection)
        except OSError:  # the client has hung up
            pass

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(plain,), daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


NOWHERE = "unix:///nowhere/docker.sock"
"""A manager that can't be reached."""


@pytest.fixture(params=["in memory", pytest.param("in the lab", marks=pytest.mark.swarm)])
def by_hand(request: pytest.FixtureRequest) -> Iterator[ByHand]:
    """Give a swarm to look at and to change, with nothing of these tests before and after."""
    if request.param == "in memory":
        manager_node = node("manager-1")
        manager_node["Spec"]["Role"] = "manager"
        engine = Engine(manager_node)
        engine.log = b"\1\0\0\0\0\0\0\x13start.sh: giving up"
        swarm = ByHand(engine.manager, "manager-1", "cache:1", "cache:crash", engine.docker())
    else:
        site: Site = request.getfixturevalue("site")
        manager = Manager(Address(host=site.engine.docker_host))
        client = APIClient(site.engine.docker_host, version="1.41")
        swarm = ByHand(manager, site.engine.name, site.cache_image, site.image(images.CRASH_TAG), client)
    before, spec = {kind: swarm.names(kind) for kind in KINDS}, swarm.node()["Spec"]
    yield swarm
    swarm.clear(before)
    swarm.change(spec)


# What the program declares, on the SDK's mocks.

MSR_TLS = issue("Site CA", address="192.0.2.1", dns_name="msr.example.com")
CACHE_TLS = issue("Cache CA", address="192.0.2.2", dns_name="cache.asia.example.com")
SECRETS = {"key": "canary-of-the-private-key", "http.secret": "canary-of-http-secret"}
"""Values that may be seen nowhere but as Pulumi secrets."""
DYNAMIC = "pulumi-python:dynamic/msr:"


@dataclass(frozen=True)
class Declared:
    """A resource as the SDK asks the engine for it; secrets in `inputs` are as on the wire (see `plain`, `visible`)."""

    type: str
    name: str
    urn: str
    parent: str
    provider: str
    inputs: dict[str, Any]
    dependencies: set[str]
    secret_outputs: set[str]
    hooks: dict[str, list[str]]
    request: Any
    """As the SDK sends it."""

    @property
    def kind(self) -> str:
        """The last part of its type."""
        return self.type.rpartition(":")[2]


@dataclass
class Program:
    """What a run has declared and exported, or the error that it has ended with."""

    resources: list[Declared] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    visible_outputs: Any = None
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    hooks: dict[str, pulumi.ResourceHook] = field(default_factory=dict)

    def of(self, kind: str) -> list[Declared]:
        return [resource for resource in self.resources if resource.kind == kind]

    def one(self, kind: str, name: str = "") -> Declared:
        (found,) = [resource for resource in self.of(kind) if name in ("", resource.name)]
        return found


def plain(value: Any) -> Any:
    """Return `value` with secrets as what they hold."""
    return _unwrapped(value, lambda secret: plain(rpc.unwrap_rpc_secret(secret)))


def visible(value: Any) -> Any:
    """Return `value` as a preview or a state shows it."""
    return _unwrapped(value, lambda _: "[secret]")


def _unwrapped(value: Any, unwrap: Callable[[Any], Any]) -> Any:
    if rpc.is_rpc_secret(value):
        return unwrap(value)
    if isinstance(value, dict):
        return {key: _unwrapped(inner, unwrap) for key, inner in value.items()}
    return [_unwrapped(item, unwrap) for item in value] if isinstance(value, list) else value


def _secret(value: Any) -> dict[str, Any]:
    return {rpc._special_sig_key: rpc._special_secret_sig, "value": value}


class Recorder(mocks.MockMonitor, mocks.Mocks):
    """Keeps each request whole, and answers as our providers would; unlike the SDK's it knows secret outputs."""

    def __init__(self, msr_ca: Mapping[str, str]) -> None:
        super().__init__(self)
        self.program = Program()
        self.msr_ca = msr_ca

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(f"{args.token}: the program calls no functions")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        inputs = {key: value for key, value in args.inputs.items() if key != "__provider"}
        state = {**inputs, **self._found(args.typ.rpartition(":")[2], plain(inputs))}
        known = next(each for each in self.program.resources if (each.type, each.name) == (args.typ, args.name))
        for key in known.secret_outputs & state.keys():
            state[key] = _secret(plain(state[key]))
        return f"id-of-{args.name}", state

    def _found(self, kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, dict[str, Any]] = {
            "MsrCa": {
                "pem": MSR_TLS.ca,
                "sha256": "0a" * 32,
                "subject": "CN=Site CA",
                "expires": "2034",
                **self.msr_ca,
            },
            "UpstreamCa": {"pem": inputs.get("given") or MSR_TLS.ca},
            "HttpSecret": {"value": SECRETS["http.secret"]},
            "StateId": {"value": STATE_ID},
            "Registration": {"entry": "e1", "former": ["e0"]},
            "FormerCache": {"before": "b0b"},
            "PrivateKey": {"privateKeyPem": SECRETS["key"], "publicKeyPem": "PUBLIC"},
            "CertRequest": {"certRequestPem": "CSR"},
            "LocallySignedCert": {"certPem": MSR_TLS.certificate, "validityEndTime": "2036-02-03T04:05:06Z"},
            "SelfSignedCert": {"certPem": CACHE_TLS.certificate, "validityEndTime": "2035-02-03T04:05:06Z"},
        }
        if kind in ("SwarmConfig", "SwarmSecret"):
            return {"name": f"{inputs['prefix']}-{hashlib.sha256(inputs['data'].encode()).hexdigest()[:10]}"}
        if kind == "Image":
            platforms = [{"architecture": "amd64", "os": "linux"}]
            return {"reference": f"{inputs['image']}@sha256:{'0b' * 32}", "platforms": platforms}
        return made.get(kind, {})

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> Any:  # noqa: N802 - gRPC's name
        if request.type != "pulumi:pulumi:Stack":
            hooks = {kind.name: list(names) for kind, names in request.hooks.ListFields()}
            declared = Declared(
                type=request.type,
                name=request.name,
                urn=self.make_urn(request.parent, request.type, request.name),
                parent=request.parent,
                provider=request.provider,
                inputs=rpc.deserialize_properties(request.object, keep_unknowns=True),
                dependencies=set(request.dependencies),
                secret_outputs=set(request.additionalSecretOutputs),
                hooks=hooks,
                request=request,
            )
            self.program.resources.append(declared)
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Any:  # noqa: N802
        if "pulumi:pulumi:Stack::" in request.urn:
            outputs = rpc.deserialize_properties(request.outputs, keep_unknowns=True)
            self.program.outputs, self.program.visible_outputs = plain(outputs), visible(outputs)
        return empty_pb2.Empty()


SWARM = listing(node("worker-7"), node("worker-8"))


def declared(
    changes: Mapping[str, Any] | None = None, swarm: Engine = SWARM, *, preview: bool = False, **msr_ca: str
) -> Program:
    """Return what the program declares with the three facts and `changes`, as it finds the swarm.

    `msr_ca`: what the last refresh found.
    """
    secrets = frozenset(pulumi_config._SECRET_KEYS.get())
    return _declared(json.dumps(with_changes(changes or {})), swarm, secrets, preview=preview, **msr_ca)


@cache
def _declared(config: str, swarm: Engine, secrets: frozenset[str], *, preview: bool, **msr_ca: str) -> Program:
    recorder = Recorder(msr_ca)

    def run() -> None:
        pulumi_config._SECRET_KEYS.set({*secrets})
        engine = mocks.MockEngine(None)
        settings = pulumi.runtime.Settings(
            project=PROJECT,
            stack=STACK,
            monitor=recorder,
            engine=engine,
            dry_run=preview,
            organization="organization",
            root_directory="/nowhere",
        )
        pulumi.runtime.configure(settings)
        pulumi.runtime.settings.ROOT.set(None)
        # In the place of the SDK's own gRPC server, by which an engine would call the hooks.
        keep = SimpleNamespace(register_resource_hook=lambda hook: recorder.program.hooks.update({hook.name: hook}))
        settings.callbacks = cast("Any", keep)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(
                pulumi.runtime.run_in_stack(lambda: stack.declare(as_engine_gives(json.loads(config))))
            )
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulumi.log, "warn", recorder.program.warnings.append)
        patch.setattr(stack, "Manager", lambda _: swarm.manager)
        try:
            contextvars.Context().run(run)
        except pulumi.RunError as error:
            recorder.program.error = str(error)
    return recorder.program


# Client bundles


# What MKE gives out: beside the four files that are needed, some more, and folders for `docker context import`.
BUNDLE = {
    "ca.pem": "CA",
    "cert.pem": "certificate",
    "key.pem": "private key",
    "env.sh": 'export DOCKER_TLS_VERIFY=1\nexport DOCKER_CERT_PATH="$(pwd)"\nexport DOCKER_HOST=tcp://mke.example.com:443\n',
    "env.cmd": "set DOCKER_HOST=tcp://mke.example.com:443\n",
    "tls/docker/key.pem": "private key",
}


def bundle_folder(folder: Path, **changes: str | None) -> Path:
    for name, text in {**BUNDLE, **changes}.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def from_bundle(path: Path) -> Address:
    return Address.from_config({"host": None, "context": None, "clientBundle": str(path)})
