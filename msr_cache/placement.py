"""Which image a cache runs, and on which nodes: declared before the rest, because the swarm may refuse it."""

from dataclasses import dataclass, replace
from typing import Any

import pulumi

from msr_cache import conflicts
from msr_cache.certificate import Certificate
from msr_cache.config.settings import Settings
from msr_cache.resources import node_label
from msr_cache.resources.image import Image
from msr_cache.resources.node_label import NodeLabel, check_nodes, refuse_others
from msr_cache.scope import Scope
from msr_cache.swarm import nodes
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.nodes import Nodes
from msr_cache.swarm.ownership import Owner
from msr_cache.upstreams import Upstreams


@dataclass(frozen=True)
class Placement:
    """`checks` change nothing; `image` and `labels` depend on them, and all other resources depend on all of these."""

    checks: tuple[pulumi.Resource, ...]
    image: Image
    labels: list[NodeLabel]

    @property
    def all(self) -> list[pulumi.Resource]:
        return [*self.checks, self.image, *self.labels]


def check(manager: Manager, found: Nodes, settings: Settings, state_id: str | None) -> list[str]:
    """Return warnings about the swarm's nodes, which are `found`; raise Refusal if a cache would lose its last one.

    Refuse what another stack has under a cache's name, before anything of any cache is declared.

    `state_id` is None in the first preview of a state, which then has no id yet.
    """
    project, stack = pulumi.get_project(), pulumi.get_stack()
    owners = [(cache.nodes, Owner(project, stack, name, state_id)) for name, cache in settings.caches.items()]
    for names, owner in owners if not settings.state_id else ():
        refuse_others(manager, found, names, _label(settings, owner))
    return [
        warning
        for names, owner in owners
        for warning in check_nodes(manager, found, names, _known_label(settings, owner))
    ]


def try_move(scope: Scope, state_id: str | None) -> None:
    """Raise Refusal if the cache is to leave its nodes for others that have the label, and would not run there."""
    label = _known_label(scope.settings, replace(scope.owner, state=state_id))
    node_label.try_move(Manager(scope.site.address), scope.site.nodes, scope.cache.nodes, label)


def declare(scope: Scope, certificate: Certificate, upstreams: Upstreams) -> Placement:
    """Declare Image and one NodeLabel for each node."""
    name, settings, msr_ca = scope.name, scope.settings, scope.site.msr_ca
    checks = (*certificate.checks, *upstreams.checks, *([msr_ca] if msr_ca else []))
    props = {
        "image": settings.image_of(name),
        "at": f"msr-cache:caches.{name}.image",
        # None, not False: earlier versions' states lack the key, and must not look like a change.
        "asWritten": None if scope.cache.resolve_image else True,
    }
    guard = pulumi.ResourceHookBinding(before_create=[conflicts.hook(scope, upstreams)])
    image = Image(f"{name}-image", props, scope.after(*checks, hooks=guard))
    scope.site.checked.append(image)
    label = _label(settings, scope.owner)
    labels = []
    for node in scope.cache.nodes:
        found = nodes.current(scope.site.nodes, node)
        where = {"node": node, "nodeId": found["ID"] if found else None}
        labels.append(NodeLabel(f"{name}-{node}", {**where, **label}, scope.after_all_checked(*checks)))
    return Placement(checks, image, labels)


def _label(settings: Settings, owner: Owner) -> dict[str, Any]:
    return {
        "key": settings.label_of(owner.cache),
        "value": "true",
        "owner": str(owner),
        "state": owner.state,
        "adopts": settings.caches[owner.cache].adopt_stack or None,
    }


def _known_label(settings: Settings, owner: Owner) -> dict[str, Any]:
    """Return the label as nodes have it: with `stateId`, this run may change the id in it, so it may have any."""
    label = _label(settings, owner)
    if settings.state_id:
        del label["state"]
    return label
