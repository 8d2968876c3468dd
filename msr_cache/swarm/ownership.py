"""Labels that name the owner of a swarm object: an object with another owner's labels, or none, is never touched.

But for `adoptStack`, by which the operator gives us what `docker stack deploy` made for one docker stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

from msr_cache.foreign import shown
from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from pulumi import Input

NAMESPACE = "com.docker.stack.namespace"
OWNER = "msr-cache.owner"
STATE = "msr-cache.state"
_RESOURCE = "msr-cache.resource"
TRIAL = "trial"
"""The resource that a trial's labels name, or its beginning."""
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Owner:
    """A cache of one stack of one project, in one state: `state` is the id that resources/state_id.py keeps there.

    Another state, say in another backend, may have a stack and a cache of the same names. None: it has no id yet.
    """

    project: str
    stack: str
    cache: str
    state: Input[str] | None

    def __str__(self) -> str:
        return f"{self.project}/{self.stack}/{self.cache}"

    def labels(self, resource: str) -> dict[str, Any]:
        """Labels of the object that is the cache's `resource` (service, config.yml, ...)."""
        return {NAMESPACE: self.cache, OWNER: str(self), STATE: self.state, _RESOURCE: resource}


def service_name(cache: str) -> str:
    """Return the name that `docker stack deploy` would give: <stack>_<service>."""
    return f"{cache}_cache"


def owner_in(labels: Labels) -> str:
    """Name the owner of an object with `labels`, for an operator to read."""
    if OWNER in labels:
        state = f"state {shown(labels[STATE])}" if STATE in labels else "no state id, from an earlier version"
        return f"msr-cache stack {shown(labels[OWNER])} ({state})"
    if NAMESPACE in labels:
        return f"docker stack {shown(labels[NAMESPACE])}"
    return "an owner that its labels do not name"


def is_same_owner(theirs: Labels, ours: Labels) -> bool:
    """Whether both sets of labels name the same cache of the same stack in the same state.

    If an earlier version wrote `ours` into the state, they name no state id; then `theirs` may name any.
    """
    keys = (OWNER, STATE) if STATE in ours else (OWNER,)
    return OWNER in theirs and all(theirs.get(key) == ours.get(key) for key in keys)


def is_of_stack(labels: Labels | None, stack: str) -> bool:
    """Whether `docker stack deploy` made the object for docker stack `stack`, and no msr-cache stack owns it."""
    labels = labels or {}
    return labels.get(NAMESPACE) == stack and OWNER not in labels


EXISTS = ("already exists and belongs to", "give the cache another name")
LOST = (
    "now belongs to",
    "ask who uses it. Only if nobody does, remove it, then run this command again with --refresh",
)
"""Never just to remove what may serve at another site."""


def refuse_other_owner(
    what: str, theirs: Labels | None, ours: Labels, problem: tuple[str, str], known: Labels | None = None
) -> None:
    """Raise Refusal, with `problem` (such as EXISTS or LOST), unless an object with the labels `theirs` is `ours`.

    `known` are the labels that the state remembers of it, if it does: they are ours, too, until they are replaced.
    """
    theirs = theirs or {}
    if is_same_owner(theirs, ours) or is_same_owner(theirs, known or {}):
        return
    belongs, advice = problem
    if STATE in theirs and theirs.get(OWNER) == ours.get(OWNER):
        advice = (
            "use the backend that has this state, or give the cache another name. Only if the state is lost for good, "
            f"take over what it made: pulumi config set msr-cache:stateId {quote(shown(theirs[STATE]))}"
        )
    raise Refusal(f"{what} {belongs} {owner_in(theirs)}; left unchanged: {advice}")


def filters(labels: Labels) -> dict[str, list[str]]:
    """Engine API filter for all objects with the owner of `labels`."""
    return {"label": [f"{key}={labels[key]}" for key in (OWNER, STATE) if labels.get(key)]}


def service_filter(owner: Labels) -> dict[str, list[str]]:
    """Engine API filter for the service of the cache that `owner` names."""
    return {"label": [*filters(owner)["label"], f"{_RESOURCE}=service"]}


def of_node_label(node_labels: Labels, key: str) -> dict[str, str]:
    """Return the labels that name the owner of label `key`: a node has them with `key` at the end."""
    return {name: node_labels[f"{name}.{key}"] for name in (OWNER, STATE) if f"{name}.{key}" in node_labels}


def with_resource(labels: Labels, resource: str) -> dict[str, str]:
    """Labels of another resource of the same owner."""
    return {**labels, _RESOURCE: resource}


def is_trial(service: Mapping[str, Any], resource: str = TRIAL) -> bool:
    """Whether a service that carries an owner's labels is a trial: any, or the one that `resource` names."""
    return str((service["Spec"].get("Labels") or {}).get(_RESOURCE, "")).startswith(resource)
