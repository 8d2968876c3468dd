"""Which image a cache runs, and on which nodes: declared before the rest, because the swarm may refuse it."""

from dataclasses import dataclass

import pulumi

from msr_cache import conflicts, moves
from msr_cache.certificate import Certificate
from msr_cache.resources.image import Image
from msr_cache.resources.node_label import NodeLabel
from msr_cache.scope import Scope
from msr_cache.swarm import nodes
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
    label = moves.label_of(settings, scope.owner)
    labels = []
    for node in scope.cache.nodes:
        found = nodes.current(scope.site.nodes, node)
        where = {"node": node, "nodeId": found["ID"] if found else None}
        labels.append(NodeLabel(f"{name}-{node}", {**where, **label}, scope.after_all_checked(*checks)))
    return Placement(checks, image, labels)
