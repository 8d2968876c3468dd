"""Which image a cache runs, and on which nodes: declared before the rest, because the swarm may refuse it."""

from dataclasses import dataclass

import pulumi

from msr_cache.certificate import Certificate
from msr_cache.resources.image import Image
from msr_cache.resources.node_label import NodeLabel
from msr_cache.scope import Scope


@dataclass(frozen=True)
class Placement:
    """`checks` change nothing; `image` and `labels` depend on them, and all other resources depend on all of these."""

    checks: tuple[pulumi.Resource, ...]
    image: Image
    labels: list[NodeLabel]

    @property
    def all(self) -> list[pulumi.Resource]:
        return [*self.checks, self.image, *self.labels]


def declare(scope: Scope, certificate: Certificate) -> Placement:
    """Declare Image and one NodeLabel for each node."""
    name, settings, msr_ca = scope.name, scope.settings, scope.site.msr_ca
    checks = (*certificate.checks, *([msr_ca] if msr_ca else []))
    props = {
        "image": settings.image_of(name),
        "at": f"msr-cache:caches.{name}.image",
        # None, not False: earlier versions' states lack the key, and must not look like a change.
        "asWritten": None if scope.cache.resolve_image else True,
    }
    image = Image(f"{name}-image", props, scope.after(*checks))
    label = {"key": settings.label_of(name), "value": "true", "owner": str(scope.owner)}
    labels = [
        NodeLabel(f"{name}-{node}", {"node": node, **label}, scope.after(*checks, image)) for node in scope.cache.nodes
    ]
    return Placement(checks, image, labels)
