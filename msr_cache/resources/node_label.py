"""A swarm node's label, tracked: set, checked for drift, and put back on destroy to its former value.

The API replaces a node's whole spec (role, availability, labels) under a version check (swarmkit, UpdateNode). So each
change reads the node, edits one label and writes it, and repeats that if another client wrote in between.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm.manager import NOT_FOUND, EngineError, Manager
from msr_cache.swarm.ownership import (
    EXISTS,
    OWNER,
    STATE,
    is_same_owner,
    of_node_label,
    refuse_other_owner,
    service_filter,
    service_name,
)

ATTEMPTS = 20
"""How often an update is repeated while other clients update the same node."""
INPUTS = ("node", "key", "value", "owner", "state")
Labels = dict[str, str]


def _owner(props: Props) -> Labels:
    """Return the labels that name the cache; a state of an earlier version has no id."""
    return {OWNER: props["owner"], **({STATE: props["state"]} if "state" in props else {})}


def _cache(props: Props) -> str:
    return str(props["owner"].rpartition("/")[2])


def _former_key(key: str) -> str:
    return f"msr-cache.before.{key}"


def _config_key(props: Props, key: str) -> str:
    return f"msr-cache:caches.{_cache(props)}.{key}"


def _labels(node: dict[str, Any]) -> Labels:
    return node["Spec"].get("Labels") or {}


def find(manager: Manager, props: Props) -> dict[str, Any]:
    """Return the one node of that host name which can run a cache; raise Refusal if there is none."""
    hostname = props["node"]
    nodes = manager.get("/nodes")
    named = [node for node in nodes if node["Description"]["Hostname"] == hostname]
    # A node that left and joined again stays listed as down beside its new self.
    ready: list[dict[str, Any]] = [node for node in named if node["Status"]["State"] == "ready"]
    if not named:
        others = ", ".join(sorted(node["Description"]["Hostname"] for node in nodes))
        problem = f"is not in the swarm, expected one of: {others}"
    elif not ready:
        problem = f"is {named[0]['Status']['State']}: start it, or name another in `nodes`"
    elif len(ready) > 1:
        problem = f"is the host name of {len(ready)} nodes: give each its own"
    elif (availability := ready[0]["Spec"]["Availability"]) != "active":
        problem = (
            f"is set to {availability}, so the swarm runs no new task there: "
            f"docker node update --availability active {hostname}"
        )
    else:
        return ready[0]
    raise Refusal(f"{_config_key(props, 'nodes')}: node {hostname} {problem}")


def change_labels(manager: Manager, node_id: str, change: Callable[[Labels, Props], None], props: Props) -> None:
    """Let `change` edit the node's labels in place, and write them."""
    for _ in range(ATTEMPTS):
        node = manager.get(f"/nodes/{node_id}")
        labels = dict(_labels(node))
        change(labels, props)
        if labels == _labels(node):
            return
        try:
            manager.update("nodes", node, {**node["Spec"], "Labels": labels})
        except EngineError as error:
            if "update out of sequence" not in error.message:
                raise
        else:
            return
    raise Refusal(f"other clients changed node {node_id} {ATTEMPTS} times while its label was set: try again")


def refuse_other_stack(labels: Labels, props: Props, olds: Props) -> None:
    """Raise Refusal if the label belongs to another state, stack or cache."""
    if theirs := of_node_label(labels, props["key"]):
        what = f"{_config_key(props, 'label')}: label {props['key']} of node {props['node']}"
        problem = ("belongs to", "give this cache a label of its own")
        refuse_other_owner(what, theirs, _owner(props), problem, _owner(olds) if olds else None)


def set_label(labels: Labels, props: Props, olds: Props) -> None:
    """Set the label, with more that record its owner and its former value, in case this run is killed."""
    key = props["key"]
    refuse_other_stack(labels, props, olds)
    if key in labels and not of_node_label(labels, key):
        labels[_former_key(key)] = labels[key]
    labels |= {f"{name}.{key}": value for name, value in _owner(props).items()}
    labels[key] = props["value"]


def restore_label(labels: Labels, props: Props) -> None:
    """Put back the label's former value, unless another client has changed it since."""
    key = props["key"]
    theirs = of_node_label(labels, key)
    if not is_same_owner(theirs, _owner(props)):
        return
    for name in theirs:
        del labels[f"{name}.{key}"]
    former = labels.pop(_former_key(key), None)
    if labels.get(key) == props["value"]:
        del labels[key]
        if former is not None:
            labels[key] = former


def _service(manager: Manager, props: Props) -> dict[str, Any] | None:
    """Return the cache's service if it runs only on nodes with the label."""
    constraint = f"node.labels.{props['key']} == {props['value']}"
    for service in manager.get("/services", **service_filter(_owner(props))):
        placement = service["Spec"]["TaskTemplate"].get("Placement") or {}
        if constraint in (placement.get("Constraints") or []):  # absent if an operator removed them by hand
            return dict(service)
    return None


def _nodes_of(manager: Manager, service: dict[str, Any] | None) -> set[str]:
    """Return the ids of the nodes that it runs on."""
    tasks = convergence.current_tasks(manager, service) if service else []
    return {task["NodeID"] for task in tasks if task["ID"] in convergence.running(tasks)}


class NodeLabelProvider(SwarmProvider):
    """Manages one label of one node."""

    updates_on = ("value", "owner", "state")
    replaces_on = ("node", "key")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Refuse a new node that is missing, down, drained, or labelled by another stack; refuse another's service."""
        if not olds:
            # The service's own check comes after the label, which could draw that service to the node.
            self._refuse_other_service(news)
        if not unchanged(olds, news, *self.replaces_on):
            refuse_other_stack(_labels(find(self.manager, news)), news, {})
        return CheckResult(news, [])

    def _refuse_other_service(self, props: Props) -> None:
        name = service_name(_cache(props))
        service = self.manager.find(f"/services/{name}")
        theirs = (service["Spec"].get("Labels") or {}) if service else {}
        # One that an earlier version made names no state id, so it may be ours: the state knows it or its check fails.
        if service and (STATE in theirs or not is_same_owner(theirs, {OWNER: props["owner"]})):
            refuse_other_owner(f"service {name}", theirs, _owner(props), EXISTS)

    def create(self, props: Props) -> CreateResult:
        """Set the label; if the cache already serves on other nodes, try it on this one first."""
        node = find(self.manager, props)
        service = _service(self.manager, props)
        serving = _nodes_of(self.manager, service)
        if service and serving and node["ID"] not in serving:
            trial.on_node(self.manager, service, node)
        change_labels(self.manager, node["ID"], partial(set_label, olds={}), props)
        return CreateResult(f"{node['ID']}/{props['key']}", {**props, "nodeId": node["ID"]})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the label's current value; only a node or label that is truly absent counts as gone."""
        node = self.manager.find(f"/nodes/{props['nodeId']}")
        if node is None or props["key"] not in _labels(node):
            return ReadResult(None, {})
        now = {**props, "value": _labels(node)[props["key"]]}
        return ReadResult(id_, now, {key: now[key] for key in INPUTS if key in now})

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        change_labels(self.manager, olds["nodeId"], partial(set_label, olds=olds), news)
        return UpdateResult({**news, "nodeId": olds["nodeId"]})

    def delete(self, _id: str, props: Props) -> None:
        """Put the label back, and wait until the cache, if it stays, runs on its remaining nodes."""
        node_id = props["nodeId"]
        service = _service(self.manager, props)
        if node_id in _nodes_of(self.manager, service):
            self._refuse_paused(node_id)
        try:
            change_labels(self.manager, node_id, restore_label, props)
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
        nodes = self.manager.get("/nodes") if service else []
        labelled = {node["ID"] for node in nodes if _labels(node).get(props["key"]) == props["value"]}
        # Without other nodes the cache itself is being deleted, or a run that was killed made its service.
        if service and labelled and node_id not in labelled:
            convergence.wait_off(self.manager, service["ID"], node_id)

    def _refuse_paused(self, node_id: str) -> None:
        node = self.manager.get(f"/nodes/{node_id}")
        if node["Spec"]["Availability"] == "pause":
            name = node["Description"]["Hostname"]
            raise Refusal(
                f"node {name} is set to pause, so the swarm would leave the cache's task there: "
                f"docker node update --availability active {name}"
            )


class NodeLabel(Tracked, module="msr", name="NodeLabel"):
    """Label `key` of the node with host name `node`, set to `value`, for the cache that `owner` and `state` name."""

    value: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(NodeLabelProvider(), name, {**props, "nodeId": None}, opts)
