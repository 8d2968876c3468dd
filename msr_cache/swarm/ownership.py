"""Labels that say whose a swarm object is: what carries somebody else's, or none, is never touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMESPACE = "com.docker.stack.namespace"
_OWNER = "msr-cache.owner"
_RESOURCE = "msr-cache.resource"
TRIAL = "trial"
"""The part that a trial's labels name, or its beginning."""


@dataclass(frozen=True)
class Owner:
    """A cache of one stack of one project."""

    project: str
    stack: str
    cache: str

    def __str__(self) -> str:
        return f"{self.project}/{self.stack}/{self.cache}"

    def labels(self, resource: str) -> dict[str, str]:
        """Labels of the object that plays the part `resource` (service, config.yml, ...) in this cache."""
        return {NAMESPACE: self.cache, _OWNER: str(self), _RESOURCE: resource}


def owner_in(labels: Mapping[str, str]) -> str:
    """Name the owner that `labels` tell, for an operator to read."""
    if _OWNER in labels:
        return f"msr-cache stack {labels[_OWNER]}"
    if NAMESPACE in labels:
        return f"docker stack {labels[NAMESPACE]}"
    return "nobody that its labels name"


def is_same_owner(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether both sets of labels name the same cache of the same stack."""
    return _OWNER in one and one[_OWNER] == other.get(_OWNER)


def filters(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Engine API filter for all that carries the owner of `labels`."""
    return {"label": [f"{_OWNER}={labels[_OWNER]}"]}


def service_filter(owner: str) -> dict[str, list[str]]:
    """Engine API filter for the service of the cache that `owner` names, as an Owner is written."""
    return {"label": [f"{_OWNER}={owner}", f"{_RESOURCE}=service"]}


def with_part(labels: Mapping[str, str], resource: str) -> dict[str, str]:
    """Labels of an object that plays another part for the same owner."""
    return {**labels, _RESOURCE: resource}


def resource_in(labels: Mapping[str, str]) -> str:
    """Which part of its cache an object plays."""
    return labels.get(_RESOURCE, "")


def is_trial(service: Mapping[str, Any], part: str = TRIAL) -> bool:
    """Whether a service that carries an owner's labels is a trial, or one of a part."""
    return resource_in(service["Spec"]["Labels"]).startswith(part)
