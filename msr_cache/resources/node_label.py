"""A swarm node's label, tracked: set, checked for drift, and put back on destroy to its former value.

The API replaces a node's whole spec (role, availability, labels) under a version check (swarmkit, UpdateNode). So each
change reads the node, edits one label and writes it, and repeats that if another client wrote in between.
"""

from collections.abc import Callable
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm.manager import NOT_FOUND, EngineError, Manager
from msr_cache.swarm.ownership import service_filter

ATTEMPTS = 20
"""How often an update is repeated while other clients update the same node."""
INPUTS = ("node", "key", "value", "owner")
Labels = dict[str, str]


def _owner_key(key: str) -> str:
    return f"msr-cache.owner.{key}"


def _former_key(key: str) -> str:
    return f"msr-cache.before.{key}"


def _config_key(props: Props, key: str) -> str:
    return f"msr-cache:caches.{props['owner'].rpartition('/')[2]}.{key}"


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


def refuse_other_stack(labels: Labels, props: Props) -> None:
    """Raise Refusal if the label belongs to another stack or cache."""
    owner = labels.get(_owner_key(props["key"]))
    if owner not in (None, props["owner"]):
        raise Refusal(
            f"{_config_key(props, 'label')}: label {props['key']} of node {props['node']} belongs to msr-cache stack "
            f"{owner}: give this cache one of its own"
        )


def set_label(labels: Labels, props: Props) -> None:
    """Set the label, with two more that record its owner and its former value, in case this run is killed."""
    key = props["key"]
    refuse_other_stack(labels, props)
    if _owner_key(key) not in labels:
        if key in labels:
            labels[_former_key(key)] = labels[key]
        labels[_owner_key(key)] = props["owner"]
    labels[key] = props["value"]


def restore_label(labels: Labels, props: Props) -> None:
    """Put back the label's former value, unless another client has changed it since."""
    key = props["key"]
    if labels.get(_owner_key(key)) != props["owner"]:
        return
    del labels[_owner_key(key)]
    former = labels.pop(_former_key(key), None)
    if labels.get(key) == props["value"]:
        del labels[key]
        if former is not None:
            labels[key] = former


def _service(manager: Manager, props: Props) -> dict[str, Any] | None:
    """Return the cache's service if it runs only on nodes with the label."""
    constraint = f"node.labels.{props['key']} == {props['value']}"
    for service in manager.get("/services", **service_filter(props["owner"])):
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

    updates_on = ("value",)
    replaces_on = ("node", "key", "owner")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Refuse a new node that is missing, down, drained, or labelled by another stack."""
        if not unchanged(olds, news, *self.replaces_on):
            refuse_other_stack(_labels(find(self.manager, news)), news)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        """Set the label; if the cache already serves on other nodes, try it on this one first."""
        node = find(self.manager, props)
        service = _service(self.manager, props)
        serving = _nodes_of(self.manager, service)
        if service and serving and node["ID"] not in serving:
            trial.on_node(self.manager, service, node)
        change_labels(self.manager, node["ID"], set_label, props)
        return CreateResult(f"{node['ID']}/{props['key']}", {**props, "nodeId": node["ID"]})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the label's current value; only a node or label that is truly absent counts as gone."""
        node = self.manager.find(f"/nodes/{props['nodeId']}")
        if node is None or props["key"] not in _labels(node):
            return ReadResult(None, {})
        now = {**props, "value": _labels(node)[props["key"]]}
        return ReadResult(id_, now, {key: now[key] for key in INPUTS})

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        change_labels(self.manager, olds["nodeId"], set_label, news)
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
    """Label `key` of the node with host name `node`, set to `value`, for the cache that `owner` names."""

    value: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(NodeLabelProvider(), name, {**props, "nodeId": None}, opts)
