"""Waits until a service runs its current spec, as that spec's tasks and the swarm's update status show.

pulumi-docker's converge_config also counts tasks of the former spec and does not wait for a rollback
(resourceDockerServiceUpdateRefreshFunc); the docker CLI checks the same facts as this module (progress.go).
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from msr_cache.refusal import Refusal
from msr_cache.rollout import diagnosis
from msr_cache.rollout.diagnosis import Task
from msr_cache.swarm.manager import Manager

POLL = 0.1
"""Seconds between two looks."""
UNPLACED = 5.0
"""Seconds for which the scheduler may find no node, for example because a label has only just been set."""
ATTEMPTS = 2
"""How many tasks may end during a wait before the service counts as failed."""
PATIENCE = 600.0
"""Seconds for everything that is slow but not wrong, such as pulling an image."""

Service = dict[str, Any]


def current_tasks(manager: Manager, service: Service) -> list[Task]:
    """Return the tasks of the service's current spec, ended ones included."""
    tasks: list[Task] = manager.get("/tasks", service=[service["ID"]], **{"_up-to-date": ["true"]})
    return tasks


def running(tasks: list[Task]) -> set[str]:
    """Return the ids of those that run, which means that their port is open, and that the swarm is not stopping."""
    return {task["ID"] for task in tasks if task["Status"]["State"] == "running" == task["DesiredState"]}


def is_settled(manager: Manager, service: Service) -> bool:
    """Whether all replicas run the current spec, and the last update, if there was one, is complete."""
    return _update_state(service) in ("", "completed") and _runs(service, current_tasks(manager, service))


def _update_state(service: Service) -> str:
    return str((service.get("UpdateStatus") or {}).get("State") or "")


def _runs(service: Service, tasks: list[Task]) -> bool:
    replicas: int = service["Spec"]["Mode"]["Replicated"]["Replicas"]
    return len(running(tasks)) >= replicas


def wait(manager: Manager, service_id: str) -> None:
    """Return when the service has settled; raise Refusal with the swarm's own error if it fails to."""
    watch = _Watch()
    for _ in _looks():
        service = manager.get(f"/services/{service_id}")
        if _has_settled(manager, service, watch):
            return
    raise Refusal(
        f"service {service['Spec']['Name']} has not settled in {PATIENCE:.0f} s: docker service ps {service_id}"
    )


def wait_off(manager: Manager, service_id: str, node_id: str) -> None:
    """Return when the service has left the node and settled on others; raise Refusal as `wait` does."""
    for _ in _looks():
        tasks = current_tasks(manager, manager.get(f"/services/{service_id}"))
        if node_id not in {task.get("NodeID") for task in tasks if task["ID"] in running(tasks)}:
            return wait(manager, service_id)
    raise Refusal(
        f"service {service_id} has not left node {node_id} in {PATIENCE:.0f} s: docker service ps {service_id}"
    )


def wait_for_task(manager: Manager, service_id: str, on_failure: Callable[[str], str]) -> None:
    """Return when the service's one task runs; at its first failure, raise Refusal with on_failure(cause)."""
    watch = _Watch()
    for _ in _looks():
        tasks = manager.get("/tasks", service=[service_id])
        failed = [task for task in tasks if diagnosis.is_hopeless(task)] or watch.unplaced(tasks)
        if failed:
            raise Refusal(on_failure(diagnosis.explain(manager, failed[0])))
        if running(tasks):
            return
    raise Refusal(on_failure(f"it has not started in {PATIENCE:.0f} s: the node may be too slow to pull the image"))


def _looks() -> Iterator[None]:
    """Yield every POLL seconds until PATIENCE ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL)


class _Watch:
    """Remembers earlier looks at a service's tasks, by this machine's clock: the swarm's may differ."""

    def __init__(self) -> None:
        self._unplaced_since: float | None = None
        self._ended_before: set[str] | None = None

    def unplaced(self, tasks: list[Task]) -> list[Task]:
        """Return the tasks without a node, once there have been some for longer than UNPLACED."""
        unplaced = [task for task in tasks if diagnosis.is_unplaced(task)]
        if not unplaced:
            self._unplaced_since = None
        elif self._unplaced_since is None:
            self._unplaced_since = time.monotonic()
        elif time.monotonic() - self._unplaced_since > UNPLACED:
            return unplaced
        return []

    def ended(self, tasks: list[Task]) -> list[Task]:
        """Return the tasks that have ended after the first look: what ended earlier ones may be gone."""
        ended = [task for task in tasks if diagnosis.is_hopeless(task) and not diagnosis.was_moved(task)]
        if self._ended_before is None:
            self._ended_before = {task["ID"] for task in ended}
        return [task for task in ended if task["ID"] not in self._ended_before]


def _has_settled(manager: Manager, service: Service, watch: _Watch) -> bool:
    state = _update_state(service)
    tasks = current_tasks(manager, service)
    ended = watch.ended(tasks)
    if state in ("rollback_completed", "rollback_paused", "paused"):
        all_tasks = manager.get("/tasks", service=[service["ID"]])
        raise _failure(manager, service, f"the swarm's update ended as {state}", all_tasks)
    if state == "rollback_started":
        return False
    if watch.unplaced(tasks):
        raise _failure(manager, service, "the swarm finds no node for it", tasks)
    if state == "updating":
        return False
    if not _runs(service, tasks) and len(ended) >= ATTEMPTS:
        raise _failure(manager, service, "its tasks end as soon as they start", ended)
    return _runs(service, tasks)


def _failure(manager: Manager, service: Service, problem: str, tasks: list[Task]) -> Refusal:
    name = service["Spec"]["Name"]
    failed = (task for task in tasks if diagnosis.is_hopeless(task) or diagnosis.is_unplaced(task))
    culprit = diagnosis.newest(task for task in failed if task["Status"].get("Err"))
    cause = diagnosis.explain(manager, culprit) if culprit else f"see docker service ps {name}"
    return Refusal(
        f"service {name} does not run as asked: {problem}.\n  {cause}\n"
        "  then: pulumi up (with unchanged settings: pulumi up --refresh)"
    )
