"""A swarm node's label, tracked: set, checked for drift, and put back on destroy to its former value.

The API replaces a node's whole spec (role, availability, labels) under a version check (swarmkit, UpdateNode). So each
change reads the node, edits one label and writes it, and repeats that if another client wrote in between.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm import nodes
from msr_cache.swarm.manager import NOT_FOUND, EngineError, Manager
from msr_cache.swarm.nodes import Node, Nodes
from msr_cache.swarm.ownership import (
    EXISTS,
    OWNER,
    STATE,
    is_of_stack,
    is_same_owner,
    of_node_label,
    refuse_other_owner,
    service_filter,
    service_name,
)

ATTEMPTS = 20
"""How often an update is repeated while other clients update the same node."""
INPUTS = ("node", "key", "value", "owner", "state", "nodeId")
Labels = dict[str, str]


def _owner(props: Props) -> Labels:
    """Return the labels that name the cache; a state of an earlier version has no id."""
    return {OWNER: props["owner"], **({STATE: props["state"]} if "state" in props else {})}


def _cache(props: Props) -> str:
    return str(props["owner"].rpartition("/")[2])


def _former_key(key: str) -> str:
    return f"msr-cache.before.{key}"


def config_key(props: Props, key: str) -> str:
    """Return the key of the cache as an error names it."""
    return f"msr-cache:caches.{_cache(props)}.{key}"


def find(manager: Manager, props: Props) -> Node:
    """Return the one node of that host name which can run a cache; raise Refusal if there is none."""
    found = manager.get("/nodes")
    node, problem = nodes.current(found, props["node"]), nodes.problem(found, props["node"])
    if node is None or problem:
        raise Refusal(f"{config_key(props, 'nodes')}: {problem}")
    return node


def change_labels(manager: Manager, node_id: str, change: Callable[[Labels, Props], None], props: Props) -> None:
    """Let `change` edit the node's labels in place, and write them."""
    for _ in range(ATTEMPTS):
        node = manager.get(f"/nodes/{node_id}")
        labels = dict(nodes.labels(node))
        change(labels, props)
        if labels == nodes.labels(node):
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
        what = f"{config_key(props, 'label')}: label {props['key']} of node {props['node']}"
        problem = ("belongs to", "give this cache a label of its own")
        refuse_other_owner(what, theirs, _owner(props), problem, _owner(olds) if olds else None)


def refuse_other_service(manager: Manager, props: Props) -> None:
    """Raise Refusal if the service of the cache's name belongs to another state, stack or cache."""
    name = service_name(_cache(props))
    service = manager.find(f"/services/{name}")
    theirs = (service["Spec"].get("Labels") or {}) if service else {}
    if STATE in theirs and theirs[STATE] == props.get("state"):
        return  # ours, though a stack that was renamed may not have changed its labels yet
    if props.get("adopts") and is_of_stack(theirs, _cache(props)):
        return
    # One that an earlier version made names no state id, so it may be ours: the state knows it or its check fails.
    if service and (STATE in theirs or not is_same_owner(theirs, {OWNER: props["owner"]})):
        refuse_other_owner(f"service {name}", theirs, _owner(props), EXISTS)


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


def may_be_ours(labels: Labels, props: Props) -> bool:
    """Whether labels that name our stack are our state's; without an id, an earlier version has written them."""
    return "state" not in props or labels.get(STATE) in (None, props["state"])


def service_of(manager: Manager, props: Props) -> dict[str, Any] | None:
    """Return the cache's service if it runs only on nodes with the label."""
    constraint = f"node.labels.{props['key']} == {props['value']}"
    for service in manager.get("/services", **service_filter({OWNER: props["owner"]})):
        if not may_be_ours(service["Spec"].get("Labels") or {}, props):
            continue
        placement = service["Spec"]["TaskTemplate"].get("Placement") or {}
        if constraint in (placement.get("Constraints") or []):  # absent if an operator removed them by hand
            return dict(service)
    return None


def nodes_of(manager: Manager, service: dict[str, Any] | None) -> set[str]:
    """Return the ids of the nodes that it runs on."""
    tasks = convergence.current_tasks(manager, service) if service else []
    return {task.get("NodeID", "") for task in convergence.running(tasks)}


def with_label(found: Nodes, props: Props) -> Nodes:
    """Return the nodes that have the label, whoever has set it."""
    return [node for node in found if nodes.labels(node).get(props["key"]) == props["value"]]


def would_lose_label(node: Node, props: Props) -> bool:
    """Whether the label is ours, and was not there before with the same value."""
    labels = dict(nodes.labels(node))
    restore_label(labels, props)
    return bool(labels.get(props["key"]) != props["value"])


def last_of(found: Nodes, serving: set[str], leaving: Nodes, staying: list[str]) -> Nodes:
    """Return the nodes that the cache runs on if it is on its way to leave them all."""
    stays = any(node["ID"] in serving for node in found if nodes.hostname(node) in staying)
    return [] if stays else [node for node in leaving if node["ID"] in serving]


def refuse_outage(found: Nodes, serving: set[str], leaving: Nodes, staying: list[str], props: Props) -> None:
    """Raise Refusal if the cache, which runs on the nodes `serving` (ids), would not move off the nodes `leaving`.

    `found` is the whole swarm, `staying` the host names of the nodes that the label then places the cache on: none if
    the cache itself is being deleted, or a run that was killed has made its service.
    """
    for node in (node for node in leaving if node["ID"] in serving):
        if node["Spec"]["Availability"] == "pause":
            name = nodes.hostname(node)
            raise Refusal(
                f"{config_key(props, 'nodes')}: node {name} is set to pause, so the swarm would leave the cache's "
                f"task there: docker node update --availability active {name}"
            )
    problems = [problem for name in staying if (problem := nodes.problem(found, name))]
    last = last_of(found, serving, leaving, staying)
    if last and problems and len(problems) == len(staying):
        names = nodes.listed(last)
        raise Refusal(
            f"{config_key(props, 'nodes')}: found {', '.join(staying)}, expected a node that can take the cache over "
            f"from {names}, the last that it runs on. Until there is one, keep {names} in `nodes`:\n  "
            + "\n  ".join(problems)
        )


class NodeLabelProvider(SwarmProvider):
    """Manages one label of one node."""

    updates_on = ("value", "owner", "state")
    replaces_on = ("node", "key", "nodeId")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Refuse a new node that is missing, down, drained, or labelled by another stack; refuse another's service."""
        if not olds:
            # The service's own check comes after the label, which could draw that service to the node.
            refuse_other_service(self.manager, news)
        joined_again = news.get("nodeId") and olds.get("nodeId") not in (None, news["nodeId"])
        if joined_again or not unchanged(olds, news, "node", "key"):
            refuse_other_stack(nodes.labels(find(self.manager, news)), news, {})
        return CheckResult(news, [])

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:
        """Keep the label of a node that the swarm does not list, or lists twice, at the moment."""
        return super().diff(id_, olds, {**news, "nodeId": news.get("nodeId") or olds["nodeId"]})

    def create(self, props: Props) -> CreateResult:
        """Set the label; if the cache already serves on other nodes, try it on this one first."""
        node = find(self.manager, props)
        service = service_of(self.manager, props)
        serving = nodes_of(self.manager, service)
        if service and serving and node["ID"] not in serving:
            trial.on_node(self.manager, service, node)
        change_labels(self.manager, node["ID"], partial(set_label, olds={}), props)
        return CreateResult(f"{node['ID']}/{props['key']}", {**props, "nodeId": node["ID"]})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the label's current value; only a node or label that is truly absent counts as gone.

        A node that is down counts as absent once its new self, with the same host name, is ready.
        """
        found = self.manager.get("/nodes")
        node = next((node for node in found if node["ID"] == props["nodeId"]), None)
        if node is None or props["key"] not in nodes.labels(node):
            return ReadResult(None, {})
        if nodes.current(found, props["node"]) not in (node, None):
            return ReadResult(None, {})
        now = {**props, "value": nodes.labels(node)[props["key"]]}
        return ReadResult(id_, now, {key: now[key] for key in INPUTS if key in now})

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        change_labels(self.manager, olds["nodeId"], partial(set_label, olds=olds), news)
        return UpdateResult({**news, "nodeId": olds["nodeId"]})

    def delete(self, _id: str, props: Props) -> None:
        """Put the label back, and wait until the cache, if it stays, runs on its remaining nodes."""
        node_id = props["nodeId"]
        service = service_of(self.manager, props)
        if service and [node["ID"] for node in with_label(self.manager.get("/nodes"), props)] == [node_id]:
            # A cache that is to go has lost its service before. So this is `pulumi up --replace`, which has just set
            # the same label anew; or a killed run made the service, which the next `up` takes up.
            return
        if node_id in (serving := nodes_of(self.manager, service)):
            self._refuse_outage(serving, props)
        try:
            change_labels(self.manager, node_id, restore_label, props)
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
        if service and node_id not in {node["ID"] for node in with_label(self.manager.get("/nodes"), props)}:
            convergence.wait_off(self.manager, service["ID"], node_id)

    def _refuse_outage(self, serving: set[str], props: Props) -> None:
        """Check once more what the program has checked: nodes may have failed since, and `destroy` runs no program."""
        found = self.manager.get("/nodes")
        labelled = with_label(found, props)
        leaving = [node for node in labelled if node["ID"] == props["nodeId"] and would_lose_label(node, props)]
        staying = sorted(nodes.hostname(node) for node in labelled if node not in leaving)
        refuse_outage(found, serving, leaving, staying, props)


class NodeLabel(Tracked, provider=NodeLabelProvider):
    """Label `key` of the node with host name `node`, set to `value`, for the cache that `owner` and `state` name.

    `nodeId` is the id of the node that has that host name now; None: not known, so an earlier one is kept.
    `adopts`: the service may be one that `docker stack deploy` made.
    """

    value: pulumi.Output[str]
