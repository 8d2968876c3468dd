"""What would change tasks that serve is tried first: one task of the new spec, or on the new node, beside them.

The swarm's own rollback comes too late on a host port: there the old task must stop before the new one can start.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msr_cache.refusal import Refusal
from msr_cache.rollout import convergence
from msr_cache.swarm.ownership import TRIAL, Owner, filters, is_same_owner, is_trial, owner_in, with_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulumi import ResourceHookArgs

    from msr_cache.swarm.manager import Manager

_GRACE = 1_000_000_000
"""Nanoseconds. What it serves is nothing to wait for, and its port is wanted."""
_HEALTH_TIMES = {"Interval": 200_000_000, "Timeout": 10_000_000_000, "Retries": 300}
"""Nanoseconds. Somebody waits for it, and it does not last: it is looked at more often than a service's own task."""
SERVICE_REMOVED = "the cache's service was removed by somebody else: put it back by pulumi up --refresh"


def refuse_foreign(manager: Manager, owner: Owner, name: str, *, dry_run: bool) -> None:
    """Before a create: refuse a service of that name that is somebody else's; remove our own that no state knows."""
    labels = owner.labels("service")
    found = manager.find(f"/services/{name}")
    if found is None:
        return
    theirs = found["Spec"].get("Labels") or {}
    if not is_same_owner(theirs, labels):
        message = (
            f"service {name} is there already and belongs to {owner_in(theirs)}: "
            "it is left as it is; remove it, or give the cache another name"
        )
        raise Refusal(message)
    if not dry_run:
        # An interrupted run created it and could not note its id: only by a new one does the state know it.
        manager.remove("services", found["ID"])


def before_update(manager: Manager, owner: Owner, args: ResourceHookArgs) -> None:
    """Refuse an update of a service that is not ours, and one whose tasks would not run."""
    found = manager.find(f"/services/{args.id}")
    if found is None:
        raise Refusal(SERVICE_REMOVED)
    theirs = found["Spec"].get("Labels") or {}
    if not is_same_owner(theirs, owner.labels("service")):
        message = f"service {found['Spec']['Name']} belongs to {owner_in(theirs)} by now: it is left as it is"
        raise Refusal(message)
    old, new = args.old_outputs or {}, args.new_inputs or {}
    replicas = new["mode"]["replicated"]["replicas"]
    if replicas and any(not _covers(old.get(key), new.get(key)) for key in ("taskSpec", "endpointSpec")):
        run(manager, owner, new, _ports(found["Endpoint"].get("Ports") or []))


def _covers(old: Any, new: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether `old`, outputs that include the daemon's defaults, already holds all that `new` asks for.

    What is empty or zero equals what is absent; so a limit that is removed is a change, and a default is none.
    """
    if isinstance(new, dict):
        return all(_covers((old or {}).get(key), value) for key, value in new.items())
    if isinstance(new, list) and old:
        return len(old) == len(new) and all(map(_covers, old, new))
    return old == new or not (old or new)


def _ports(ports: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(port["PublishMode"], port["PublishedPort"]) for port in ports}


def run(manager: Manager, owner: Owner, inputs: Mapping[str, Any], taken: set[tuple[str, int]]) -> None:
    """Run one task of the service that `inputs` (docker.Service's) describe, without the ports that it holds itself."""
    name = f"{inputs['name']}-{TRIAL}"
    sweep(manager, owner.labels(TRIAL))
    spec = engine_spec(inputs, name, owner.labels(TRIAL))
    spec["EndpointSpec"]["Ports"] = [
        port for port in spec["EndpointSpec"]["Ports"] if (port["PublishMode"], port["PublishedPort"]) not in taken
    ]
    _try(manager, spec, f"service {inputs['name']} was not changed: one task of the new settings was tried beside it")


def on_node(manager: Manager, service: dict[str, Any], node: Mapping[str, Any]) -> None:
    """Run one more task of `service` on a node that has none of its own, which then holds its image already."""
    spec = service["Spec"]
    part = f"{TRIAL}-{node['ID'][:12]}"  # several nodes may be tried at once
    sweep(manager, spec["Labels"], part)
    template = spec["TaskTemplate"]
    container = template["ContainerSpec"]
    health = {**(container.get("Healthcheck") or {}), **_HEALTH_TIMES}
    ports = spec["EndpointSpec"].get("Ports") or []
    here = {**template.get("Placement", {}), "Constraints": [f"node.id == {node['ID']}"]}
    trial = {
        "Name": f"{spec['Name']}-{part}",
        "Labels": with_part(spec["Labels"], part),
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {
            **template,
            "ContainerSpec": {**container, "Healthcheck": health, "StopGracePeriod": _GRACE},
            "Placement": here,
            "RestartPolicy": {"Condition": "none"},
        },
        "EndpointSpec": {"Ports": [port for port in ports if port["PublishMode"] == "host"]},
    }
    hostname = node["Description"]["Hostname"]
    what = f"node {hostname} was not labelled: one task of service {spec['Name']}, as it is now, was tried there"
    _try(manager, trial, what)


def _try(manager: Manager, spec: dict[str, Any], what: str) -> None:
    def refused(cause: str) -> str:
        return f"{what}, and would not run.\n  {cause}\n  then: pulumi up"

    trial = manager.create("services", spec)
    try:
        convergence.wait_for_task(manager, trial, refused)
    finally:
        # Also when the run is interrupted. What can't be removed hides no cause; the next run sweeps it.
        with suppress(Refusal):
            manager.remove("services", trial)


def sweep(manager: Manager, labels: Mapping[str, str], part: str = TRIAL) -> None:
    """Remove trials that a killed run has left: all of the owner of `labels`, or those of a part."""
    for service in manager.get("/services", **filters(labels)):
        if is_trial(service, part):
            manager.remove("services", service["ID"])


def engine_spec(inputs: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Turn docker.Service's inputs into the Engine API's spec of one task, not restarted, reserving nothing."""
    container = inputs["taskSpec"]["containerSpec"]
    limits = inputs["taskSpec"]["resources"]["limits"]
    endpoint = inputs["endpointSpec"]
    return {
        "Name": name,
        "Labels": dict(labels),
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": container["image"],
                "Command": container["commands"],
                "StopGracePeriod": _GRACE,
                "Healthcheck": {"Test": container["healthcheck"]["tests"], **_HEALTH_TIMES},
                "Configs": [
                    {"ConfigID": file["configId"], "ConfigName": file["configName"], "File": _target(file)}
                    for file in container["configs"]
                ],
                "Secrets": [
                    {"SecretID": file["secretId"], "SecretName": file["secretName"], "File": _target(file)}
                    for file in container["secrets"]
                ],
            },
            "Resources": {"Limits": {"NanoCPUs": int(limits["nanoCpus"]), "MemoryBytes": int(limits["memoryBytes"])}},
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": inputs["taskSpec"]["placement"]["constraints"]},
        },
        "EndpointSpec": {
            "Ports": [
                {
                    "Protocol": "tcp",
                    "TargetPort": int(port["targetPort"]),
                    "PublishedPort": int(port["publishedPort"]),
                    "PublishMode": port["publishMode"],
                }
                for port in endpoint["ports"]
            ]
        },
    }


def _target(file: Mapping[str, Any]) -> dict[str, Any]:
    return {"Name": file["fileName"], "UID": file["fileUid"], "GID": file["fileGid"], "Mode": int(file["fileMode"])}
