"""Tries a change before it reaches the tasks that serve: one task of the new spec, or on the new node, beside them.

The swarm's own rollback comes too late on a host port: there the old task must stop before the new one can start.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pulumi import ResourceHookArgs

from msr_cache.refusal import Refusal
from msr_cache.rollout import convergence
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.nodes import hostname
from msr_cache.swarm.ownership import (
    EXISTS,
    LOST,
    NAMESPACE,
    TRIAL,
    Labels,
    filters,
    is_of_stack,
    is_trial,
    refuse_other_owner,
    with_resource,
)

_GRACE = 1_000_000_000
"""Nanoseconds: a trial serves no client that would have to finish, and the service needs its port."""
_HEALTH_TIMES = {"Interval": 200_000_000, "Timeout": 10_000_000_000, "Retries": 300}
"""Nanoseconds: checked more often than a service's task, because you wait for a trial, and it soon ends."""


def labels_in(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels in docker.Service's inputs."""
    return {each["label"]: each["value"] for each in inputs["labels"]}


def refuse_foreign(manager: Manager, name: str, labels: Labels) -> str | None:
    """Before a create: refuse another owner's service of that name; return the id of one of ours."""
    found = manager.find(f"/services/{name}")
    if found is None:
        return None
    refuse_other_owner(f"service {name}", found["Spec"].get("Labels"), labels, EXISTS)
    return str(found["ID"])


def before_update(manager: Manager, args: ResourceHookArgs, *, adopts: bool = False) -> None:
    """Refuse an update of another owner's service, and one whose tasks would not run.

    `adopts`: also what `docker stack deploy` made for the stack of that name is ours now.
    """
    found = manager.find(f"/services/{args.id}")
    if found is None:
        raise Refusal(convergence.SERVICE_REMOVED)
    old, new = args.old_outputs or {}, args.new_inputs or {}
    known = labels_in(args.old_inputs) if args.old_inputs else None
    theirs, ours = found["Spec"].get("Labels"), labels_in(new)
    if not (adopts and is_of_stack(theirs, ours[NAMESPACE])):
        refuse_other_owner(f"service {new['name']}", theirs, ours, LOST, known)
    replicas = new["mode"]["replicated"]["replicas"]
    if replicas and not all(_covers(old.get(key), new.get(key)) for key in ("taskSpec", "endpointSpec")):
        _try_update(manager, new, found)


def _covers(old: Any, new: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether `old`, outputs that include the daemon's defaults, already holds all that `new` asks for.

    What is empty or zero equals what is absent; so a limit that is removed is a change, and a default is none.
    After a refresh, lists have the daemon's order.
    """
    if isinstance(new, dict):
        old = old or {}
        # The daemon adds no variables, so one that is missing is removed.
        return all(
            (old.get(key) or {}) == value if key == "env" else _covers(old.get(key), value)
            for key, value in new.items()
        )
    if isinstance(new, list) and old:
        return len(old) == len(new) and all(any(_covers(was, item) for was in old) for item in new)
    return old == new or not (old or new)


def _try_update(manager: Manager, inputs: Mapping[str, Any], service: Mapping[str, Any]) -> None:
    """Run one task of what `inputs` (docker.Service's) make of the service, which serves meanwhile.

    The swarm gives a port of the service to no other one, not even in the other publish mode. The trial reserves what
    the new tasks need more than those that they replace.
    """
    labels = with_resource(labels_in(inputs), TRIAL)
    sweep(manager, labels)
    spec = engine_spec(inputs, f"{inputs['name']}-{TRIAL}", labels)
    taken = {port.get("PublishedPort") for port in service["Endpoint"].get("Ports") or []}
    ports = spec["EndpointSpec"]["Ports"]
    spec["EndpointSpec"]["Ports"] = [port for port in ports if port["PublishedPort"] not in taken]
    reserved = (service["Spec"]["TaskTemplate"].get("Resources") or {}).get("Reservations") or {}
    asked = spec["TaskTemplate"]["Resources"]["Reservations"]
    asked.update({key: max(0, amount - reserved.get(key, 0)) for key, amount in asked.items()})
    _try(manager, spec, f"service {inputs['name']} was not changed: a trial task of the new settings did not run")


def on_node(manager: Manager, service: dict[str, Any], node: Mapping[str, Any], outcome: str | None = None) -> None:
    """Run one more task of `service` on a node that has none, which also pulls the image there."""
    spec = service["Spec"]
    resource = f"{TRIAL}-{node['ID'][:12]}"  # several nodes may be tried at once
    sweep(manager, spec.get("Labels") or {}, resource)
    template, ports = spec["TaskTemplate"], (spec.get("EndpointSpec") or {}).get("Ports") or []
    placement = {**(template.get("Placement") or {}), "Constraints": [f"node.id == {node['ID']}"]}
    trial = _one_task(
        f"{spec['Name']}-{resource}",
        with_resource(spec.get("Labels") or {}, resource),
        {**template, "Placement": placement},
        [port for port in ports if port.get("PublishMode") == "host"],
    )
    outcome = outcome or f"node {hostname(node)} was not labelled"
    _try(manager, trial, f"{outcome}: a trial task of service {spec['Name']} did not run there")


def _try(manager: Manager, spec: dict[str, Any], outcome: str) -> None:
    trial = manager.create("services", spec)
    try:
        convergence.wait_for_task(manager, trial, lambda cause: f"{outcome}.\n  {cause}\n  then: pulumi up")
    finally:
        # Also when the run is interrupted. A failed removal must not hide the cause; the next run sweeps the trial.
        with suppress(Refusal):
            manager.remove("services", trial)


def sweep(manager: Manager, labels: Mapping[str, str], resource: str = TRIAL) -> None:
    """Remove trials that a killed run has left: all of the owner of `labels`, or the one that `resource` names."""
    for service in manager.get("/services", **filters(labels)):
        if is_trial(service, resource):
            manager.remove("services", service["ID"])


def engine_spec(inputs: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Turn docker.Service's inputs into the Engine API's spec of a trial."""
    container = inputs["taskSpec"]["containerSpec"]
    resources = inputs["taskSpec"]["resources"]
    template = {
        "ContainerSpec": {
            "Image": container["image"],
            "Command": container["commands"],
            "Env": [f"{key}={value}" for key, value in (container.get("env") or {}).items()],
            "Healthcheck": {"Test": container["healthcheck"]["tests"]},
            "Secrets": [
                {"SecretID": file["secretId"], "SecretName": file["secretName"], "File": _target(file)}
                for file in container["secrets"]
            ],
            "Mounts": list(map(_mount, container["mounts"])),
        },
        "Resources": {"Limits": _amount(resources["limits"]), "Reservations": _amount(resources["reservation"])},
        "Placement": {"Constraints": inputs["taskSpec"]["placement"]["constraints"]},
    }
    ports = [
        {
            "Protocol": "tcp",
            "TargetPort": int(port["targetPort"]),
            "PublishedPort": int(port["publishedPort"]),
            "PublishMode": port["publishMode"],
        }
        for port in inputs["endpointSpec"]["ports"]
    ]
    return _one_task(name, labels, template, ports)


def _target(file: Mapping[str, Any]) -> dict[str, Any]:
    return {"Name": file["fileName"], "UID": file["fileUid"], "GID": file["fileGid"], "Mode": int(file["fileMode"])}


def _amount(amount: Mapping[str, Any]) -> dict[str, int]:
    return {"NanoCPUs": int(amount["nanoCpus"]), "MemoryBytes": int(amount["memoryBytes"])}


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    found = {"Type": mount["type"], "Source": mount["source"], "Target": mount["target"]}
    if bind := mount.get("bindOptions"):
        return {**found, "BindOptions": {"Propagation": bind["propagation"]}}
    volume = mount["volumeOptions"]
    driver = {"Name": volume["driverName"], "Options": volume["driverOptions"]}
    return {**found, "VolumeOptions": {"NoCopy": volume["noCopy"], "DriverConfig": driver}}


def _one_task(
    name: str, labels: Mapping[str, str], template: dict[str, Any], ports: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the Engine API's spec of a service with one task, which the swarm does not restart."""
    container = template.get("ContainerSpec") or {}
    health = {**(container.get("Healthcheck") or {}), **_HEALTH_TIMES}
    container = {**container, "Healthcheck": health, "StopGracePeriod": _GRACE}
    return {
        "Name": name,
        "Labels": dict(labels),
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {**template, "ContainerSpec": container, "RestartPolicy": {"Condition": "none"}},
        "EndpointSpec": {"Ports": ports},
    }
