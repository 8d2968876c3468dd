"""Labels that name the owner of a swarm object: an object with another owner's labels, or none, is never touched."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msr_cache.refusal import Refusal

NAMESPACE = "com.docker.stack.namespace"
_OWNER = "msr-cache.owner"
_RESOURCE = "msr-cache.resource"
TRIAL = "trial"
"""The resource that a trial's labels name, or its beginning."""


@dataclass(frozen=True)
class Owner:
    """A cache of one stack of one project."""

    project: str
    stack: str
    cache: str

    def __str__(self) -> str:
        return f"{self.project}/{self.stack}/{self.cache}"

    def labels(self, resource: str) -> dict[str, str]:
        """Labels of the object that is the cache's `resource` (service, config.yml, ...)."""
        return {NAMESPACE: self.cache, _OWNER: str(self), _RESOURCE: resource}


def owner_in(labels: Mapping[str, str]) -> str:
    """Name the owner of an object with `labels`, for an operator to read."""
    if _OWNER in labels:
        return f"msr-cache stack {labels[_OWNER]}"
    if NAMESPACE in labels:
        return f"docker stack {labels[NAMESPACE]}"
    return "an owner that its labels do not name"


def is_same_owner(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether both sets of labels name the same cache of the same stack."""
    return _OWNER in one and one[_OWNER] == other.get(_OWNER)


EXISTS = "already exists and belongs to {owner}; left unchanged: remove it, or give the cache another name"
LOST = "now belongs to {owner}; left unchanged: remove it, then run this command again with --refresh"


def refuse_other_owner(what: str, found: Mapping[str, Any], labels: Mapping[str, str], problem: str) -> None:
    """Raise Refusal, with `problem` (EXISTS or LOST), unless `found`, the Engine API's object, is of our owner."""
    theirs = found["Spec"].get("Labels") or {}
    if not is_same_owner(theirs, labels):
        raise Refusal(f"{what} {problem.format(owner=owner_in(theirs))}")


def filters(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Engine API filter for all objects with the owner of `labels`."""
    return {"label": [f"{_OWNER}={labels[_OWNER]}"]}


def service_filter(owner: str) -> dict[str, list[str]]:
    """Engine API filter for the service of the cache that `owner` names, as str(Owner) writes it."""
    return {"label": [f"{_OWNER}={owner}", f"{_RESOURCE}=service"]}


def with_resource(labels: Mapping[str, str], resource: str) -> dict[str, str]:
    """Labels of another resource of the same owner."""
    return {**labels, _RESOURCE: resource}


def is_trial(service: Mapping[str, Any], resource: str = TRIAL) -> bool:
    """Whether a service that carries an owner's labels is a trial: any, or the one that `resource` names."""
    return str(service["Spec"]["Labels"].get(_RESOURCE, "")).startswith(resource)
