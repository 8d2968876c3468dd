"""The rollout of a cache's service: green only when tasks of the new spec run, and when nothing of the old is left.

A resource, not an after-hook of the service: a hook that failed is not in the state, and the next `up` would be green.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown, unchanged
from msr_cache.resources.swarm_file import leftovers
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm.manager import NOT_FOUND, EngineError
from msr_cache.swarm.ownership import is_same_owner, owner_in

TRIGGERS = ("service", "specSha256")


class RolloutProvider(SwarmProvider):
    """Waits for the swarm, names what failed, and clears away former generations of configs and secrets."""

    def create(self, props: Props) -> CreateResult:
        """Wait for the new service."""
        self._see_through(props)
        return CreateResult(props["service"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Wait for the changed service."""
        self._see_through(news)
        return UpdateResult(news)

    def _see_through(self, props: Props) -> None:
        try:
            convergence.wait(self.manager, props["service"])
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
            raise Refusal(trial.SERVICE_REMOVED) from None
        for kind, id_ in leftovers(self.manager, props["labels"]):
            self.manager.remove(kind, id_)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Ask the swarm too: a service that has not settled, or leftovers of a killed run, are work to do."""
        if any(is_unknown(news[key]) for key in TRIGGERS) or not unchanged(olds, news, *TRIGGERS):
            return DiffResult(changes=True)
        service = self._service(olds)
        settled = service is not None and convergence.is_settled(self.manager, service)
        return DiffResult(changes=not settled or bool(leftovers(self.manager, news["labels"])))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Be gone with the service: there is nothing left to see through."""
        if self._service(props) is None:
            return ReadResult(None, {})
        return ReadResult(id_, props)

    def delete(self, _id: str, props: Props) -> None:
        """Let the service go, unless it has become somebody else's; leave no trial behind."""
        service = self._service(props)
        if service is None:
            # The provider fails to delete a service that is gone, and does not say what to do.
            message = "the cache's service was removed by somebody else: run this command again with --refresh"
            raise Refusal(message)
        labels = service["Spec"].get("Labels") or {}
        if not is_same_owner(labels, props["labels"]):
            message = f"the cache's service belongs to {owner_in(labels)} by now: it is left as it is"
            raise Refusal(message)
        trial.sweep(self.manager, props["labels"])

    def _service(self, props: Props) -> convergence.Service | None:
        return self.manager.find(f"/services/{props['service']}")


class Rollout(Tracked, module="msr", name="Rollout"):
    """Service `service` (its id) running what `specSha256` is the digest of; `labels` name the owner."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(RolloutProvider(), name, props, opts)
