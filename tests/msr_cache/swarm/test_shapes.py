"""An object of the manager's that lacks a field, or has another there, ends no operation in a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_cache import by_hand, moves
from msr_cache.commands import status
from msr_cache.refusal import Refusal
from msr_cache.resources import node_label, verification
from msr_cache.resources.image import ImageProvider
from msr_cache.resources.node_label import NodeLabelProvider
from msr_cache.resources.provider import SwarmProvider
from msr_cache.resources.rollout import RolloutProvider
from msr_cache.resources.swarm_file import ConfigProvider, SecretProvider
from msr_cache.rollout import convergence, diagnosis, trial
from msr_cache.swarm.connection import Answer
from msr_cache.swarm.manager import Address, Manager
from msr_cache.swarm.ownership import Owner, with_resource
from msr_cache.swarm.shapes import SHAPES, odd_fields
from tests.msr_cache.conftest import PROJECT, STACK, STATE_ID, message, node, settings_with, task
from tests.msr_cache.engine import Clock

LABELS = Owner(PROJECT, STACK, "asia", STATE_ID).labels("service")
NODE = {**node("worker-7", **{"dtr.cache": "true"}), "Version": {"Index": 1}, "ManagerStatus": {"Addr": "10.0.0.1:1"}}
PORTS = {"Ports": [{"Protocol": "tcp", "TargetPort": 443, "PublishedPort": 443, "PublishMode": "host"}]}
CONTAINER = {
    "Image": "cache:1",
    "Env": ["A=1"],
    "Healthcheck": {"Test": ["CMD", "true"]},
    "Configs": [{"ConfigID": "c1", "File": {"Name": "config.yml"}}],
    "Secrets": [{"SecretID": "s1"}],
}
SPEC = {
    "Name": "asia_cache",
    "Labels": LABELS,
    "Mode": {"Replicated": {"Replicas": 1}},
    "TaskTemplate": {
        "ContainerSpec": CONTAINER,
        "Placement": {"Constraints": ["node.labels.dtr.cache == true"]},
    },
    "EndpointSpec": PORTS,
    "UpdateConfig": {"Monitor": 1},
}
SERVICE = {
    "ID": "service-1",
    "Version": {"Index": 1},
    "Spec": SPEC,
    "Endpoint": PORTS,
    "UpdateStatus": {"State": "completed"},
}
FILE = {"ID": "c1", "Version": {"Index": 1}, "Spec": {"Name": "asia_unit-0123456789", "Labels": LABELS, "Data": "e30="}}
FAILED = task("t2", "failed", "task: non-zero exit (3)", ContainerStatus={"ExitCode": 3})
OBJECTS: dict[str, list[dict[str, Any]]] = {
    "nodes": [NODE, {**node("worker-8"), "Version": {"Index": 1}}],
    "services": [SERVICE, {**SERVICE, "ID": "t", "Spec": {**SPEC, "Labels": with_resource(LABELS, "trial")}}],
    "tasks": [{**task("t1", "running"), "NodeID": NODE["ID"]}, FAILED],
    "configs": [FILE],
    "secrets": [FILE],
    "distribution": [{"Descriptor": {"digest": "sha256:0a"}, "Platforms": [{"architecture": "amd64", "os": "linux"}]}],
    "networks": [{"Id": "n1", "Name": "asia_default"}],
}
SETTINGS = settings_with({"msr.ca": "system"})
PROPS = {
    "node": "worker-7",
    "nodeId": NODE["ID"],
    "key": "dtr.cache",
    "value": "true",
    "owner": f"{PROJECT}/{STACK}/asia",
    "state": STATE_ID,
    "service": "service-1",
    "specSha256": "0a",
    "replicas": 1,
    "nodes": ["worker-7"],
    "labels": LABELS,
    "prefix": "asia_unit",
    "name": "asia_unit-0123456789",
    "data": "x",
    "image": "cache:1",
    "at": "image",
    "port": 443,
    "cache": "asia",
    "cacheUrl": "https://cache",
    "certificate": "PEM",
    "sha256": "0a",
}


class Answerer(Manager):
    """A manager whose objects are given, whatever is done to them."""

    def __init__(self, objects: dict[str, list[Any]]) -> None:
        super().__init__(Address("unix:///nowhere"))
        self._connection = self  # type: ignore[assignment]
        self.objects = objects

    def ask(self, method: str, url: str, *_: Any) -> Answer:
        kind, *rest = url.partition("?")[0].removeprefix("/v1.41/").split("/")
        found = self.objects[kind] if not rest else self.objects[kind][0]
        return Answer(200, "OK", json.dumps(found if method == "GET" else {"ID": "new"}).encode(), 0)


def acts(manager: Manager) -> Iterator[Callable[[], object]]:
    """Yield each thing that the program does with what a manager answers."""
    providers: tuple[SwarmProvider, ...] = (
        NodeLabelProvider(),
        RolloutProvider(),
        ConfigProvider(),
        SecretProvider(),
        ImageProvider(),
        verification.VerificationProvider(),
    )
    for provider in providers:
        provider._local = type("Local", (), {"manager": manager})()
        yield partial(provider.check, {}, {**PROPS})
        yield partial(provider.diff, "id", {**PROPS}, {**PROPS})
        yield partial(provider.create, {**PROPS})
        yield partial(provider.read, "id", {**PROPS})
        yield partial(provider.update, "id", {**PROPS}, {**PROPS})
        yield partial(provider.delete, "id", {**PROPS})
    yield lambda: moves.check_nodes(manager, manager.get("/nodes"), ["worker-8"], PROPS)
    yield lambda: moves.try_nodes(manager, manager.get("/nodes"), ["worker-8"], PROPS)
    yield lambda: moves.refuse_others(manager, manager.get("/nodes"), ["worker-7"], PROPS)
    yield lambda: trial.refuse_foreign(manager, "asia_cache", LABELS)
    yield lambda: trial.on_node(manager, manager.get("/services")[0], manager.get("/nodes")[0])
    yield lambda: convergence.wait(manager, "service-1")
    yield lambda: convergence.wait_off(manager, "service-1", "node-1")
    yield lambda: convergence.next_step(manager, "service-1")
    yield lambda: [diagnosis.explain(manager, each) for each in manager.get("/tasks")]
    yield lambda: by_hand._config_yml(manager, manager.get("/services/asia_cache"))
    yield lambda: [*by_hand._of_service(manager.get("/nodes"), manager.get("/services/asia_cache"))]
    output = {"asia": {"service": "asia_cache", "certificateExpires": "2000-01-01T00:00:00Z"}}
    yield lambda: list(status.statuses(SETTINGS, manager, output))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each map or list in `value` with each of its keys or numbers."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def _quickly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(convergence, "time", Clock())
    for ask in (convergence._tasks, convergence._find):
        patch.setattr(ask.retry, "stop", lambda _: True)
    patch.setattr(convergence, "POLL", 300)
    patch.setattr(verification, "tls_steps", lambda _: [])
    patch.setattr("pulumi.log.warn", lambda _: None)
    patch.setattr("pulumi.log.info", lambda _: None)


@given(st.data(), st.sampled_from([*OBJECTS]), st.sampled_from(["gone", None, 5, "x", "", [], {}, [5], {"x": 5}, True]))
def test_whatever_a_managers_objects_lack_each_act_ends_or_is_refused(data: Any, kind: str, instead: Any) -> None:
    objects = deepcopy(OBJECTS)
    place, key = data.draw(st.sampled_from([each for known in objects[kind] for each in places(known)]))
    if instead == "gone":
        del place[key]
    else:
        place[key] = instead
    with pytest.MonkeyPatch.context() as patch:
        _quickly(patch)
        for act in acts(Answerer(objects)):
            with suppress(Refusal):
                act()


def test_an_answer_that_lacks_a_field_is_refused_with_the_fields_path() -> None:
    manager = Answerer({**OBJECTS, "services": [{**SERVICE, "Spec": {"Name": "asia_cache"}}]})
    assert message(lambda: manager.get("/services/asia_cache")) == (
        "msr-cache:swarm.host: found an answer to /services/asia_cache that is not the Docker Engine API's "
        "(Spec.TaskTemplate is missing or of another type), expected a swarm manager at unix:///nowhere"
    )
    assert "([0].Spec.TaskTemplate is missing" in message(lambda: manager.get("/services"))


def test_a_node_that_has_not_told_its_name_yet_is_no_reason_to_refuse_the_others() -> None:
    joining = {**NODE, "ID": "n2", "Description": {}}
    manager = Answerer({**OBJECTS, "nodes": [NODE, joining]})
    assert node_label.find(manager, PROPS)["ID"] == NODE["ID"]


def test_a_service_that_is_not_replicated_is_refused_by_its_name() -> None:
    manager = Answerer({**OBJECTS, "services": [{**SERVICE, "Spec": {**SPEC, "Mode": {"Global": {}}}}]})
    for act in (
        lambda: convergence.wait(manager, "service-1"),
        lambda: [*by_hand._of_service([], manager.get("/services/a"))],
    ):
        assert message(act).startswith("service asia_cache has another mode than replicated")


@pytest.mark.parametrize("kind", SHAPES)
def test_what_the_engine_answers_is_of_the_shape(kind: str) -> None:
    assert [*odd_fields(OBJECTS[kind], [SHAPES[kind]])] == []
