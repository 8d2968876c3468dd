"""The rollout of a cache's service: succeeds once tasks of the new spec run, and removes the former files.

A resource, not an after-hook of the service: the state does not record a failed hook, so the next `up` would succeed.
"""

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown
from msr_cache.resources.swarm_file import unused_objects
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm.ownership import LOST, refuse_other_owner


class RolloutProvider(SwarmProvider):
    """Waits for the service, reports what failed, and removes former configs and secrets."""

    updates_on = ("service", "specSha256", "nodes")

    def create(self, props: Props) -> CreateResult:
        self._finish(props)
        return CreateResult(props["service"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        self._finish(news)
        return UpdateResult(news)

    def _finish(self, props: Props) -> None:
        service = self.manager.find(f"/services/{props['service']}")
        if service and _is_stopped(service, props):
            convergence.scale(self.manager, service, int(props["replicas"]))
        convergence.wait(self.manager, props["service"])
        for kind, id_ in unused_objects(self.manager, props["labels"]):
            self.manager.remove(kind, id_)

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:
        """Ask the swarm too: a service that has not settled, or what a killed run left, needs an update.

        Refuse a replacement of the service: the engine asks, with an unknown id, before it deletes the old one.
        """
        if is_unknown(news["service"]):
            raise Refusal(
                "the cache's service can't be replaced, because the cache would be off meanwhile: run pulumi up "
                "without --replace, pulumi untaint after pulumi taint, or undo by hand what docker service update added"
            )
        if is_unknown(news["specSha256"]) or super().diff(id_, olds, news).changes:
            return DiffResult(changes=True)
        service = self.manager.find(f"/services/{olds['service']}")
        if service is None or _is_stopped(service, news) or not convergence.is_settled(self.manager, service):
            return DiffResult(changes=True)
        return DiffResult(changes=bool(unused_objects(self.manager, news["labels"])))

    def read(self, id_: str, props: Props) -> ReadResult:
        """A rollout goes with its service."""
        return self.read_object(f"/services/{props['service']}", id_, props)

    def delete(self, _id: str, props: Props) -> None:
        """Let the service, which is deleted next, go only if it is still ours; leave no trial behind."""
        service = self.manager.find(f"/services/{props['service']}")
        if service is None:
            # The provider fails to delete a service that is gone, and does not say what to do.
            raise Refusal("the cache's service was removed outside Pulumi: run this command again with --refresh")
        refuse_other_owner("the cache's service", service["Spec"].get("Labels"), props["labels"], LOST)
        trial.sweep(self.manager, props["labels"])
        convergence.stop(self.manager, service["ID"])
        if props.get("blobs"):
            pulumi.log.info(f"the cache's blobs stay in {props['blobs']}")


def _is_stopped(service: convergence.Service, props: Props) -> bool:
    """Whether a `destroy` that did not end has stopped a service that should run."""
    return bool(props["replicas"]) and service["Spec"]["Mode"]["Replicated"]["Replicas"] == 0


class Rollout(Tracked, module="msr", name="Rollout"):
    """Service `service` (its id) with `replicas` tasks of the spec `specSha256` (a digest); `labels` name the owner.

    A change of `nodes` is an update, too, because its hook tries a move of the cache. `blobs`: what `destroy` leaves.
    """

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(RolloutProvider(), name, props, opts)
