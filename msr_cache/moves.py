"""The nodes that a cache leaves, and what else has its label: looked at before anything of any cache is declared.

Its NodeLabels can't do that: one that is removed has no check, and one that stays does not know of another's removal.
"""

from dataclasses import replace

import pulumi

from msr_cache.config.settings import Settings
from msr_cache.refusal import Refusal
from msr_cache.resources.node_label import (
    config_key,
    last_of,
    may_be_ours,
    nodes_of,
    refuse_other_service,
    refuse_other_stack,
    refuse_outage,
    service_of,
    with_label,
    would_lose_label,
)
from msr_cache.resources.provider import Props
from msr_cache.rollout import trial
from msr_cache.scope import Scope
from msr_cache.swarm import nodes
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.nodes import Node, Nodes
from msr_cache.swarm.ownership import OWNER, STATE, Owner, of_node_label, owner_in


def check(manager: Manager, found: Nodes, settings: Settings, state_id: str | None) -> list[str]:
    """Return warnings about the swarm's nodes, which are `found`; raise Refusal if a cache would lose its last one.

    Refuse what another stack has under a cache's name: before one cache is refused, another would be made.
    `state_id` is None in the first preview of a state, which then has no id yet.
    """
    project, stack = pulumi.get_project(), pulumi.get_stack()
    owners = [(cache.nodes, Owner(project, stack, name, state_id)) for name, cache in settings.caches.items()]
    for names, owner in owners if not settings.state_id else ():
        refuse_others(manager, found, names, label_of(settings, owner))
    return [
        warning
        for names, owner in owners
        for warning in check_nodes(manager, found, names, _known_label(settings, owner))
    ]


def try_move(scope: Scope, state_id: str | None) -> None:
    """Raise Refusal if the cache is to leave its nodes for others that have the label, and would not run there."""
    label = _known_label(scope.settings, replace(scope.owner, state=state_id))
    try_nodes(Manager(scope.site.address), scope.site.nodes, scope.cache.nodes, label)


def label_of(settings: Settings, owner: Owner) -> Props:
    """Return the properties of a cache's NodeLabels that do not depend on the node."""
    return {
        "key": settings.label_of(owner.cache),
        "value": "true",
        "owner": str(owner),
        "state": owner.state,
        "adopts": settings.caches[owner.cache].adopt_stack or None,
    }


def _known_label(settings: Settings, owner: Owner) -> Props:
    """Return the label as nodes have it: with `stateId`, this run may change the id in it, so it may have any."""
    label = label_of(settings, owner)
    if settings.state_id:
        del label["state"]
    return label


def refuse_others(manager: Manager, found: Nodes, names: list[str], props: Props) -> None:
    """Refuse another state's service or label; what this state may know, its resources' own checks refuse later.

    Arguments as for `check_nodes`.
    """
    labels = [(node, of_node_label(nodes.labels(node), props["key"])) for node in found]
    if not any(theirs and theirs.get(STATE, props["state"]) == props["state"] for _, theirs in labels):
        refuse_other_service(manager, props)
    for node, theirs in labels:
        if nodes.hostname(node) in names and theirs.get(STATE, props["state"]) != props["state"]:
            refuse_other_stack(nodes.labels(node), {**props, "node": nodes.hostname(node)}, {})


def _leaving(found: Nodes, names: list[str], props: Props) -> Nodes:
    """Return the nodes that have the label from us though they are none of the cache's (`names`) any more."""
    labelled = (node for node in with_label(found, props) if nodes.hostname(node) not in names)
    ours = (node for node in labelled if may_be_ours(of_node_label(nodes.labels(node), props["key"]), props))
    of_any_state = {key: value for key, value in props.items() if key != "state"}
    return [node for node in ours if would_lose_label(node, of_any_state)]


def check_nodes(manager: Manager, found: Nodes, names: list[str], props: Props) -> list[str]:
    """Refuse what would take the cache off its last node; return warnings about other nodes that carry its label.

    `found` is the whole swarm, `names` are the cache's nodes.
    """
    leaving = _leaving(found, names, props)
    if leaving:
        refuse_outage(found, nodes_of(manager, service_of(manager, props)), leaving, names, props)
    beside = [node for node in with_label(found, props) if nodes.hostname(node) not in names]
    return [_warning(node, props) for node in beside if node not in leaving]


def try_nodes(manager: Manager, found: Nodes, names: list[str], props: Props) -> None:
    """Raise Refusal if the cache is to leave all nodes that it runs on, and a task of it runs on none of the others.

    Arguments as for `check_nodes`. A node that has no label yet is tried before it gets one.
    """
    leaving, labelled = _leaving(found, names, props), {nodes.hostname(node) for node in with_label(found, props)}
    service = service_of(manager, props) if leaving and {*names} <= labelled else None
    last = last_of(found, nodes_of(manager, service), leaving, names)
    if not service or not last:
        return
    refused = None
    for node in (node for name in names if not nodes.problem(found, name) and (node := nodes.current(found, name))):
        outcome = (
            f"node {nodes.listed(last)} keeps its label, because node {nodes.hostname(node)} can't take the cache over"
        )
        try:
            trial.on_node(manager, service, node, outcome)
        except Refusal as error:
            refused = error
        else:
            return
    if refused:
        raise refused


def _warning(node: Node, props: Props) -> str:
    key, name = props["key"], nodes.hostname(node)
    theirs = of_node_label(nodes.labels(node), key)
    if theirs.get(OWNER) in (None, props["owner"]) and may_be_ours(theirs, props):
        advice = f"Name it in `nodes`, or, if nothing else needs the label: docker node update --label-rm {key} {name}"
    else:
        advice = f"There it belongs to {owner_in(theirs)}: give this cache a label of its own"
    return (
        f"{config_key(props, 'label')}: node {name}, which is not in `nodes`, has the label {key}={props['value']} "
        f"too, so the swarm may run the cache there. {advice}"
    )
