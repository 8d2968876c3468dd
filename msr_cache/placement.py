"""Which image a cache runs, and on which nodes: made before anything else, because the swarm may refuse it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from msr_cache.resources.image import Image
from msr_cache.resources.node_label import NodeLabel

if TYPE_CHECKING:
    from msr_cache.certificate import Certificate
    from msr_cache.scope import Scope


@dataclass(frozen=True)
class Placement:
    """`checks` only look; `image` and `labels` come after them, and everything else after all of these."""

    checks: tuple[pulumi.Resource, ...]
    image: Image
    labels: list[NodeLabel]

    @property
    def all(self) -> list[pulumi.Resource]:
        return [*self.checks, self.image, *self.labels]


def place(scope: Scope, certificate: Certificate) -> Placement:
    """Declare Image and one NodeLabel for each node."""
    name, settings, msr_ca = scope.name, scope.settings, scope.site.msr_ca
    checks = (*certificate.checks, *([msr_ca] if msr_ca else []))
    wanted = {"image": settings.image_of(name), "at": f"msr-cache:caches.{name}.image"}
    image = Image(f"{name}-image", wanted, scope.after(*checks))
    label = {"key": settings.label_of(name), "value": "true", "owner": str(scope.owner)}
    labels = [
        NodeLabel(f"{name}-{node}", {"node": node, **label}, scope.after(*checks, image)) for node in scope.cache.nodes
    ]
    return Placement(checks, image, labels)
