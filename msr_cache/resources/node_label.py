"""A swarm node's label, tracked: set, seen when it drifts, and put back on destroy to what it was before.

An update replaces a node's whole spec (role, availability, labels) under a version check (swarmkit UpdateNode), so a
change is read, change one label, write, and again when somebody else wrote in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm.manager import NOT_FOUND, EngineError, Manager
from msr_cache.swarm.ownership import service_filter

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS = 20
"""How often a node's update is tried anew when others update the same node at the same time."""

Labels = dict[str, str]
INPUTS = ("node", "key", "value", "owner")


def _owner_key(key: str) -> str:
    return f"msr-cache.owner.{key}"


def _before_key(key: str) -> str:
    return f"msr-cache.before.{key}"


def _config_key(props: Props, key: str) -> str:
    return f"msr-cache:caches.{props['owner'].rpartition('/')[2]}.{key}"


def find(manager: Manager, props: Props) -> dict[str, Any]:
    """Return the one node of that host name which can run a cache; raise Refusal that says why there is none."""
    at, hostname = _config_key(props, "nodes"), props["node"]
    nodes = manager.get("/nodes")
    named = [node for node in nodes if node["Description"]["Hostname"] == hostname]
    if not named:
        others = ", ".join(sorted(node["Description"]["Hostname"] for node in nodes))
        message = f"{at}: node {hostname} is not in the swarm, which has: {others}"
        raise Refusal(message)
    # A node that left and joined again stays listed as down beside its new self.
    ready: list[dict[str, Any]] = [node for node in named if node["Status"]["State"] == "ready"]
    if not ready:
        message = f"{at}: node {hostname} is {named[0]['Status']['State']}: start it, or name another in `nodes`"
        raise Refusal(message)
    if len(ready) > 1:
        message = f"{at}: node {hostname} is the host name of {len(ready)} nodes: give each its own"
        raise Refusal(message)
    availability = ready[0]["Spec"]["Availability"]
    if availability != "active":
        message = (
            f"{at}: node {hostname} is set to {availability}, so the swarm runs no new task there: "
            f"docker node update --availability active {hostname}"
        )
        raise Refusal(message)
    return ready[0]


def change_labels(manager: Manager, node_id: str, change: Callable[[Labels], None]) -> None:
    """Let `change` edit the node's labels in place, and write them."""
    for _ in range(ATTEMPTS):
        node = manager.get(f"/nodes/{node_id}")
        before = node["Spec"].get("Labels") or {}
        labels = dict(before)
        change(labels)
        if labels == before:
            return
        try:
            manager.update("nodes", node, {**node["Spec"], "Labels": labels})
        except EngineError as error:
            if "update out of sequence" not in error.message:
                raise
        else:
            return
    message = f"node {node_id} was changed by others {ATTEMPTS} times while its label was set: try again"
    raise Refusal(message)


def _refuse_others(labels: Labels, props: Props) -> None:
    owner = labels.get(_owner_key(props["key"]))
    if owner not in (None, props["owner"]):
        message = (
            f"{_config_key(props, 'label')}: label {props['key']} of node {props['node']} belongs to msr-cache stack "
            f"{owner}: give this cache one of its own"
        )
        raise Refusal(message)


def take(labels: Labels, props: Props) -> None:
    """Set the label; two more remember whose it is and what was there before, should this run be killed."""
    key = props["key"]
    _refuse_others(labels, props)
    if _owner_key(key) not in labels:
        if key in labels:
            labels[_before_key(key)] = labels[key]
        labels[_owner_key(key)] = props["owner"]
    labels[key] = props["value"]


def give_back(labels: Labels, props: Props) -> None:
    """Put back what was there before us; leave what somebody else has set since."""
    key = props["key"]
    if labels.get(_owner_key(key)) != props["owner"]:
        return
    del labels[_owner_key(key)]
    before = labels.pop(_before_key(key), None)
    if labels.get(key) != props["value"]:
        return
    if before is None:
        del labels[key]
    else:
        labels[key] = before


def _service(manager: Manager, props: Props) -> dict[str, Any] | None:
    """Return the cache's service if it runs only where the label is; None before its first and after its last day."""
    constraint = f"node.labels.{props['key']} == {props['value']}"
    for service in manager.get("/services", **service_filter(props["owner"])):
        placement = service["Spec"]["TaskTemplate"].get("Placement") or {}
        if constraint in (placement.get("Constraints") or []):  # none, where somebody has removed them by hand
            return dict(service)
    return None


def _nodes_of(manager: Manager, service: dict[str, Any]) -> set[str]:
    """Return the ids of the nodes that it runs on."""
    tasks = convergence.current_tasks(manager, service)
    return {task["NodeID"] for task in tasks if task["ID"] in convergence.running(tasks)}


class NodeLabelProvider(SwarmProvider):
    """Keeps one label of one node."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Look at a node that is new to us: missing, down, drained, or labelled by another stack."""
        if not unchanged(olds, news, "node", "key", "owner"):
            _refuse_others(find(self.manager, news)["Spec"].get("Labels") or {}, news)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        """Set the label, once the cache that serves elsewhere has been tried on the node."""
        node = find(self.manager, props)
        node_id = node["ID"]
        service = _service(self.manager, props)
        serving = _nodes_of(self.manager, service) if service else set()
        if service and serving and node_id not in serving:
            trial.on_node(self.manager, service, node)
        change_labels(self.manager, node_id, lambda labels: take(labels, props))
        return CreateResult(f"{node_id}/{props['key']}", {**props, "nodeId": node_id})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the label's value as it is now; only a node or label that is truly absent counts as gone."""
        gone = ReadResult(None, {})
        node = self.manager.find(f"/nodes/{props['nodeId']}")
        if node is None:
            return gone
        labels = node["Spec"].get("Labels") or {}
        if props["key"] not in labels:
            return gone
        now = {**props, "value": labels[props["key"]]}
        return ReadResult(id_, now, {key: now[key] for key in INPUTS})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Another node, key or owner is another label."""
        moved = [key for key in ("node", "key", "owner") if olds[key] != news[key]]
        return DiffResult(changes=bool(moved) or olds["value"] != news["value"], replaces=moved)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Set the label again."""
        change_labels(self.manager, olds["nodeId"], lambda labels: take(labels, news))
        return UpdateResult({**news, "nodeId": olds["nodeId"]})

    def delete(self, _id: str, props: Props) -> None:
        """Put the node's label back, and see the cache, where it stays, run on the nodes that are left to it."""
        node_id = props["nodeId"]
        service = _service(self.manager, props)
        if service and node_id in _nodes_of(self.manager, service):
            self._refuse_paused(node_id)
        try:
            change_labels(self.manager, node_id, lambda labels: give_back(labels, props))
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
        # With no node left the cache is on its way out, or its service was made by a run that was killed.
        if service and (left := self._labelled(props)) and node_id not in left:
            convergence.wait_off(self.manager, service["ID"], node_id)

    def _refuse_paused(self, node_id: str) -> None:
        node = self.manager.get(f"/nodes/{node_id}")
        if node["Spec"]["Availability"] == "pause":
            name = node["Description"]["Hostname"]
            message = (
                f"node {name} is set to pause, so the swarm would leave the cache's task there: "
                f"docker node update --availability active {name}"
            )
            raise Refusal(message)

    def _labelled(self, props: Props) -> set[str]:
        nodes = self.manager.get("/nodes")
        return {node["ID"] for node in nodes if (node["Spec"].get("Labels") or {}).get(props["key"]) == props["value"]}


class NodeLabel(Tracked, module="msr", name="NodeLabel"):
    """Label `key` of the node with host name `node`, set to `value`, for the cache that `owner` names."""

    value: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(NodeLabelProvider(), name, {**props, "nodeId": None}, opts)
