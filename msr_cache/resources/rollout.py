"""The rollout of a cache's service: succeeds once tasks of the new spec run, and removes the former files.

A resource, not an after-hook of the service: the state does not record a failed hook, so the next `up` would succeed.
"""

from contextlib import suppress

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown
from msr_cache.resources.swarm_file import unused_objects
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence, trial
from msr_cache.swarm import nodes
from msr_cache.swarm.manager import EngineError
from msr_cache.swarm.ownership import LOST, NAMESPACE, is_of_stack, refuse_other_owner, service_name


class RolloutProvider(SwarmProvider):
    """Waits for the service, reports what failed, and removes former configs and secrets."""

    updates_on = ("service", "specSha256", "nodes")
    shows_changes = True

    def create(self, props: Props) -> CreateResult:
        self._finish(props)
        return CreateResult(props["service"], {**props, "finished": True})

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        self._finish(news)
        return UpdateResult({**news, "finished": True})

    def _finish(self, props: Props) -> None:
        service = self.manager.find(f"/services/{props['service']}")
        if service and _is_stopped(service, props):
            convergence.scale(self.manager, service, int(props["replicas"]))
        convergence.wait(self.manager, props["service"])
        for kind, id_ in self._unused(props):
            self.manager.remove(kind, id_)

    def _unused(self, props: Props) -> list[tuple[str, str]]:
        return unused_objects(self.manager, props["labels"], adopts=bool(props.get("adopts")))

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:
        """Ask the swarm too: a service that has not settled, or what a killed run left, needs an update.

        Refuse a replacement of the service: the engine asks, with an unknown id, before it deletes the old one.
        """
        if is_unknown(news["service"]):
            raise Refusal(
                "the cache's service can't be replaced, because the cache would be off meanwhile: run pulumi up "
                "without --replace, pulumi state untaint after pulumi state taint, or undo by hand what docker service "
                "update added"
            )
        if (known := super().diff(id_, olds, news)).changes is not False:
            return known
        service = self.manager.find(f"/services/{olds['service']}")
        if problem := self._problem(service, news):
            pulumi.log.warn(problem)
            return DiffResult(changes=True)
        return DiffResult(changes=bool(self._unused(news)))

    def _problem(self, service: convergence.Service | None, props: Props) -> str | None:
        """Return why a service whose settings stay needs an update, and what to do: the update itself shows no line."""
        name = service_name(props["labels"][NAMESPACE])
        if service is None:
            return convergence.GONE.format(name)
        if is_of_stack(service["Spec"].get("Labels"), props["labels"][NAMESPACE]):
            return f"service {name} was changed by docker stack deploy: pulumi up --refresh changes it back"
        if _is_stopped(service, props):
            return f"service {name} was stopped by a pulumi destroy that did not end: pulumi up starts it again"
        if not convergence.is_settled(self.manager, service):
            if lost := self._lost_labels(service, props["nodes"]):
                return f"{lost} is gone or has another value: run pulumi up --refresh"
            state = convergence.next_step(self.manager, service["ID"])
            return f"{state}. docker service ps {name} shows more; if it stays so, run pulumi up --refresh"
        return None

    def _lost_labels(self, service: convergence.Service, names: list[str]) -> str:
        """Return the labels that the service's constraints ask for and that its nodes, by host name, do not have."""
        constraints = (service["Spec"]["TaskTemplate"].get("Placement") or {}).get("Constraints") or []
        wanted = [each.removeprefix("node.labels.").partition(" == ") for each in constraints]
        found = [node for node in self.manager.get("/nodes") if nodes.hostname(node) in names]
        return ", ".join(
            f"label {key} of node {nodes.hostname(node)}"
            for node in found
            for (key, _, value), constraint in zip(wanted, constraints, strict=True)
            if constraint.startswith("node.labels.") and nodes.labels(node).get(key) != value
        )

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
        if props.get("adopts"):
            self._remove_networks(service["ID"], props["labels"][NAMESPACE])
        if props.get("blobs"):
            pulumi.log.info(f"the cache's blobs stay in {props['blobs']}")

    def _remove_networks(self, service_id: str, stack: str) -> None:
        """Take the stopped service off its networks, and remove the docker stack's that nothing else uses."""
        service = self.manager.get(f"/services/{service_id}")
        template = {**service["Spec"]["TaskTemplate"], "Networks": []}
        self.manager.update("services", service, {**service["Spec"], "TaskTemplate": template})
        for network in self.manager.get("/networks", label=[f"{NAMESPACE}={stack}"]):
            with suppress(EngineError):  # in use
                self.manager.remove("networks", network["Id"])


def _is_stopped(service: convergence.Service, props: Props) -> bool:
    """Whether a `destroy` that did not end has stopped a service that should run."""
    return bool(props["replicas"]) and convergence.replicas(service) == 0


class Rollout(Tracked, provider=RolloutProvider):
    """Service `service` (its id) with `replicas` tasks of the spec `specSha256` (a digest); `labels` name the owner.

    A change of `nodes` is an update, too, because its hook tries a move of the cache. `blobs`: what `destroy` leaves.
    `adopts`: what the docker stack of the cache's name has left goes, too.
    A preview knows `finished` only if nothing is rolled out.
    """

    finished: pulumi.Output[bool]
