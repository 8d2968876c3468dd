"""A changed service is tried by one task before it is touched, and what is somebody else's is left alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import repeat
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.rollout import trial
from msr_cache.swarm.ownership import Owner
from tests.msr_cache.conftest import STATE_ID, task
from tests.msr_cache.engine import Engine

ASIA = Owner("msr-cache", "prod", "asia", STATE_ID)
FILE = {"fileUid": "0", "fileGid": "0", "fileMode": 0o444}
# docker.Service's inputs, as the engine hands them to a hook.
INPUTS: dict[str, Any] = {
    "name": "asia_cache",
    "labels": [{"label": key, "value": value} for key, value in ASIA.labels("service").items()],
    "mode": {"replicated": {"replicas": 2}},
    "taskSpec": {
        "containerSpec": {
            "healthcheck": {
                "tests": ["CMD-SHELL", "exit 0"],
                "interval": "2s",
                "timeout": "10s",
                "retries": 30,
                "startPeriod": "0s",
            },
            "image": "cache:1@sha256:0a",
            "commands": ["/start.sh", "/config.yml"],
            "env": {"HTTPS_PROXY": "http://proxy:3128"},
            "secrets": [{"secretId": "s1", "secretName": "asia_cache.key.pem-1", "fileName": "cache.key.pem", **FILE}],
            "mounts": [],
        },
        "placement": {"constraints": ["node.labels.dtr.cache == true"]},
        "resources": {
            "limits": {"nanoCpus": 500_000_000, "memoryBytes": 1 << 29},
            "reservation": {"nanoCpus": 0, "memoryBytes": 1 << 28},
        },
    },
    "endpointSpec": {
        "mode": "vip",
        "ports": [{"protocol": "tcp", "targetPort": 443, "publishedPort": 443, "publishMode": "host"}],
    },
}
# Engine API 1.41, ServiceSpec.
TARGET = {"UID": "0", "GID": "0", "Mode": 0o444}
SPEC: dict[str, Any] = {
    "Name": "asia_cache-trial",
    "Labels": ASIA.labels("trial"),
    "Mode": {"Replicated": {"Replicas": 1}},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "cache:1@sha256:0a",
            "Command": ["/start.sh", "/config.yml"],
            "Env": ["HTTPS_PROXY=http://proxy:3128"],
            "StopGracePeriod": 1_000_000_000,
            "Healthcheck": {
                "Test": ["CMD-SHELL", "exit 0"],
                "Interval": 200_000_000,
                "Timeout": 10_000_000_000,
                "Retries": 300,
            },
            "Secrets": [
                {"SecretID": "s1", "SecretName": "asia_cache.key.pem-1", "File": {"Name": "cache.key.pem", **TARGET}}
            ],
            "Mounts": [],
        },
        "Resources": {
            "Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 1 << 29},
            "Reservations": {"NanoCPUs": 0, "MemoryBytes": 1 << 28},
        },
        "RestartPolicy": {"Condition": "none"},
        "Placement": {"Constraints": ["node.labels.dtr.cache == true"]},
    },
    "EndpointSpec": {"Ports": [{"Protocol": "tcp", "TargetPort": 443, "PublishedPort": 443, "PublishMode": "host"}]},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    inputs = deepcopy(INPUTS)
    *parents, last = path.split(".")
    place = inputs
    for part in parents:
        place = place[part]
    place[last] = value
    return inputs


@pytest.fixture
def ours(swarm: Engine) -> Engine:
    """Give a swarm whose service is ours and publishes host port 443."""
    swarm.service["Spec"]["Labels"] = ASIA.labels("service")
    ports = [{"PublishMode": "host", "PublishedPort": 443, "TargetPort": 443}]
    swarm.service["Spec"]["EndpointSpec"] = {"Ports": ports}
    for kind, ids in {"configs": ("c1", "c2"), "secrets": ("s1", "s2", "one", "two")}.items():
        for id_ in ids:
            swarm.add(kind, {"Name": id_}, ID=id_)
    return swarm.then(0, [task("a", "running")])


def before_update(swarm: Engine, new: dict[str, Any], old: dict[str, Any] | None = INPUTS, **how: bool) -> None:
    args = SimpleNamespace(id="service-1", old_inputs=old, old_outputs=old, new_inputs=new)
    trial.before_update(swarm.manager, cast("pulumi.ResourceHookArgs", args), **how)


@pytest.mark.parametrize("stack", ["asia", "europe"])
def test_what_docker_stack_deploy_made_is_tried_and_changed_only_where_the_stack_of_that_name_is_adopted(
    ours: Engine, stack: str
) -> None:
    ours.service["Spec"]["Labels"] = {"com.docker.stack.namespace": stack}
    new, old = changed("taskSpec.containerSpec.image", "cache:2"), {**INPUTS, "labels": []}
    with pytest.raises(Refusal, match=f"now belongs to docker stack '?{stack}"):
        before_update(ours, new, old)
    if stack == "asia":
        before_update(ours, new, old, adopts=True)
        assert len(ours.created) == 1
    else:
        with pytest.raises(Refusal, match="now belongs to docker stack"):
            before_update(ours, new, old, adopts=True)


# Before a create


def refuse_foreign(swarm: Engine, name: str = "asia_cache", state: Any = STATE_ID) -> str | None:
    return trial.refuse_foreign(swarm.manager, name, replace(ASIA, state=state).labels("service"))


def test_a_name_that_nobody_has_is_free(swarm: Engine) -> None:
    assert refuse_foreign(swarm, "europe_cache") is None


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        (None, "an owner that its labels do not name"),
        (replace(ASIA, state="f00000000000").labels("service"), r"msr-cache stack msr-cache/prod/asia \(state f000"),
    ],
)
def test_somebody_elses_service_is_refused_by_name(swarm: Engine, labels: dict[str, str] | None, whose: str) -> None:
    swarm.service["Spec"]["Labels"] = labels
    with pytest.raises(Refusal, match=f"service asia_cache already exists and belongs to {whose}"):
        refuse_foreign(swarm)


@pytest.mark.parametrize("unknown", [Unknown(), rpc.UNKNOWN])
@pytest.mark.parametrize("version", ["this", "an earlier one"])
def test_while_the_state_has_no_id_yet_every_service_is_somebody_elses(
    ours: Engine, unknown: object, version: str
) -> None:
    if version != "this":
        del ours.service["Spec"]["Labels"]["msr-cache.state"]
    with pytest.raises(Refusal, match="service asia_cache already exists and belongs to"):
        refuse_foreign(ours, state=unknown)


def test_our_own_service_of_which_no_state_knows_is_found(ours: Engine) -> None:
    assert refuse_foreign(ours) == "service-1"


# Before an update


@pytest.mark.parametrize(
    "former",
    [
        pytest.param(replace(ASIA, state="f00000000000").labels("service"), id="the state's id was another"),
        pytest.param(replace(ASIA, stack="old").labels("service"), id="the stack was renamed"),
        pytest.param({"msr-cache.owner": str(ASIA)}, id="an earlier version knew no ids"),
    ],
)
def test_a_service_with_the_labels_that_the_state_remembers_is_ours(ours: Engine, former: dict[str, str]) -> None:
    ours.service["Spec"]["Labels"] = former
    before_update(ours, INPUTS, changed("labels", [{"label": key, "value": former[key]} for key in former]))
    with pytest.raises(Refusal, match="service asia_cache now belongs to"):
        before_update(ours, INPUTS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("taskSpec.containerSpec.image", "cache:2"),
        ("taskSpec.containerSpec.secrets", [{**INPUTS["taskSpec"]["containerSpec"]["secrets"][0], "secretId": "s2"}]),
        ("taskSpec.containerSpec.env", {}),
        ("taskSpec.containerSpec.env", {"HTTPS_PROXY": "http://other:3128"}),
        ("taskSpec.containerSpec.secrets", INPUTS["taskSpec"]["containerSpec"]["secrets"] * 2),
        ("taskSpec.placement.constraints", ["node.labels.rack.cache == true"]),
        ("taskSpec.placement.constraints", []),
        ("taskSpec.resources.limits", {"nanoCpus": 1, "memoryBytes": 1 << 29}),
        ("taskSpec.resources.limits", {"nanoCpus": 500_000_000, "memoryBytes": 0}),
        ("endpointSpec.ports", [{**INPUTS["endpointSpec"]["ports"][0], "publishedPort": 8443, "targetPort": 8443}]),
    ],
)
def test_a_change_of_what_runs_is_tried_and_the_trial_removed(ours: Engine, path: str, value: Any) -> None:
    before_update(ours, changed(path, value))
    assert [spec["Name"] for spec in ours.created] == ["asia_cache-trial"]
    assert ours.names() == {"asia_cache"}


TWO_FILES = [{**INPUTS["taskSpec"]["containerSpec"]["secrets"][0], "secretId": id_} for id_ in ("one", "two")]
NO_REPLICAS = {"mode": {"replicated": {"replicas": 0}}}
FILES = "taskSpec.containerSpec.secrets"


@pytest.mark.parametrize(
    ("new", "old"),
    [
        pytest.param(changed("labels", [*INPUTS["labels"], {"label": "a", "value": "b"}]), INPUTS, id="labels"),
        pytest.param(changed("mode.replicated.replicas", 5), INPUTS, id="more of the same"),
        pytest.param(changed("taskSpec.containerSpec.image", "cache:2") | NO_REPLICAS, INPUTS, id="no task"),
        pytest.param(
            changed("taskSpec.forceUpdate", 0),
            changed("taskSpec.containerSpec.stopSignal", "SIGTERM"),
            id="what the daemon has filled in",
        ),
        pytest.param(changed(FILES, TWO_FILES), changed(FILES, TWO_FILES[::-1]), id="the daemon's order of files"),
    ],
)
def test_a_change_that_starts_nothing_new_is_not_tried(ours: Engine, new: dict[str, Any], old: dict[str, Any]) -> None:
    before_update(ours, new, old)
    assert ours.created == []


def test_a_task_that_would_not_run_is_refused_and_the_service_left(ours: Engine) -> None:
    ours.then(0, [task("t", "rejected", "No such image: cache:2")])
    with pytest.raises(Refusal) as caught:
        before_update(ours, changed("taskSpec.containerSpec.image", "cache:2"))
    told = str(caught.value)
    assert told.startswith("service asia_cache was not changed: a trial task of the new settings did not run.")
    assert "task t on worker-7 rejected: No such image: cache:2" in told
    assert "what to do: check `image`" in told
    assert ours.names() == {"asia_cache"}


# The trial itself


def test_a_trial_is_one_task_of_the_new_spec_that_is_not_restarted() -> None:
    assert trial.engine_spec(INPUTS, "asia_cache-trial", ASIA.labels("trial")) == SPEC


@pytest.mark.parametrize("mode", ["host", "ingress"])
def test_a_trial_takes_no_port_that_the_service_holds_itself_in_whichever_mode(ours: Engine, mode: str) -> None:
    """Swarmkit: "port '443' is already in use by service ... as a host-published port", also as an ingress port."""
    more = {"protocol": "tcp", "targetPort": 444, "publishedPort": 444, "publishMode": "host"}
    held = {**INPUTS["endpointSpec"]["ports"][0], "publishMode": mode}
    before_update(ours, changed("endpointSpec.ports", [held, more]))
    (spec,) = ours.created
    assert [port["PublishedPort"] for port in spec["EndpointSpec"]["Ports"]] == [444]


@pytest.mark.parametrize(
    ("before", "growth"), [({}, 1 << 28), ({"MemoryBytes": 1 << 27}, 1 << 27), ({"MemoryBytes": 1 << 29}, 0)]
)
def test_a_trial_reserves_what_the_new_tasks_need_more_than_those_that_serve(
    ours: Engine, before: dict[str, int], growth: int
) -> None:
    """On a node with room for the new tasks, but not for the old and the new ones at once, it runs all the same."""
    ours.service["Spec"]["TaskTemplate"] = {"Resources": {"Reservations": before}}
    before_update(ours, INPUTS, None)
    (spec,) = ours.created
    assert spec["TaskTemplate"]["Resources"]["Reservations"] == {"NanoCPUs": 0, "MemoryBytes": growth}


# On a node that is new to the service


NODE = {"ID": "0123456789abcdefghijklmno", "Description": {"Hostname": "worker-8"}}


def serving(ours: Engine) -> dict[str, Any]:
    ports = [{"PublishMode": mode, "PublishedPort": port} for mode, port in (("host", 443), ("ingress", 444))]
    ours.service["Spec"] |= {
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "cache:1",
                "Healthcheck": {"Test": ["CMD-SHELL", "exit 0"], "Interval": 2_000_000_000, "Retries": 30},
            },
            "Placement": {"Constraints": ["node.labels.dtr.cache == true"], "Platforms": [{"OS": "linux"}]},
            "RestartPolicy": {"Condition": "on-failure"},
        },
        "EndpointSpec": {"Mode": "vip", "Ports": ports},
    }
    return ours.service


def test_a_node_is_tried_with_a_task_as_the_service_has_it_and_the_hosts_own_port(ours: Engine) -> None:
    """Ports of the ingress are the service's own, on each node of the swarm."""
    trial.on_node(ours.manager, serving(ours), NODE)
    (spec,) = ours.created
    assert spec["Name"] == "asia_cache-trial-0123456789ab"
    assert spec["Labels"] == ASIA.labels("trial-0123456789ab")
    assert spec["TaskTemplate"] == {
        "ContainerSpec": {
            "Image": "cache:1",
            "Healthcheck": SPEC["TaskTemplate"]["ContainerSpec"]["Healthcheck"],
            "StopGracePeriod": 1_000_000_000,
        },
        "Placement": {"Constraints": [f"node.id == {NODE['ID']}"], "Platforms": [{"OS": "linux"}]},
        "RestartPolicy": {"Condition": "none"},
    }
    assert spec["EndpointSpec"] == {"Ports": [{"PublishMode": "host", "PublishedPort": 443}]}
    assert ours.names() == {"asia_cache"}


def test_a_service_of_which_port_and_health_check_were_removed_by_hand_is_tried_as_it_is(ours: Engine) -> None:
    service = serving(ours)
    del service["Spec"]["EndpointSpec"]["Ports"], service["Spec"]["TaskTemplate"]["ContainerSpec"]["Healthcheck"]
    trial.on_node(ours.manager, service, NODE)
    (spec,) = ours.created
    assert spec["EndpointSpec"] == {"Ports": []}
    assert "Test" not in spec["TaskTemplate"]["ContainerSpec"]["Healthcheck"]


def with_parts(ours: Engine, *parts: str, owner: Owner = ASIA) -> None:
    for part in parts:
        ours.add("services", {"Name": f"{owner.cache}-{part}", "Labels": owner.labels(part), "TaskTemplate": {}})


def test_nodes_that_are_tried_at_once_do_not_end_each_others_trials(ours: Engine) -> None:
    with_parts(ours, "trial", "trial-0123456789ab", "trial-999999999999")
    trial.on_node(ours.manager, serving(ours), NODE)
    assert ours.names() == {"asia_cache", "asia-trial", "asia-trial-999999999999"}


def test_trials_that_a_killed_run_has_left_are_removed_and_nothing_else(ours: Engine) -> None:
    with_parts(ours, "service", "trial", "trial-0123456789ab", "rollout")
    with_parts(ours, "trial", owner=replace(ASIA, cache="europe"))
    trial.sweep(ours.manager, ASIA.labels("rollout"))
    assert ours.names() == {"asia_cache", "asia-service", "asia-rollout", "europe-trial"}


@pytest.mark.parametrize("end", [SystemExit(1), Refusal("it would not run")], ids=["an interrupt", "a failure"])
@pytest.mark.parametrize("removal_fails", [False, True], ids=["", "and the manager is away"])
def test_a_trial_is_removed_however_it_ends_and_the_cause_is_what_is_reported(
    ours: Engine, monkeypatch: pytest.MonkeyPatch, end: BaseException, removal_fails: bool
) -> None:
    def interrupt(*_: object) -> None:
        if removal_fails:
            ours.faults = repeat((0, "timed out"))
        raise end

    monkeypatch.setattr("msr_cache.rollout.convergence.wait_for_task", interrupt)
    with pytest.raises(type(end)) as caught:
        before_update(ours, changed("taskSpec.containerSpec.image", "cache:2"))
    assert caught.value is end
    assert ours.asked[-1][0] == "DELETE"
    assert ours.names() == {"asia_cache"} | ({"asia_cache-trial"} if removal_fails else set())
