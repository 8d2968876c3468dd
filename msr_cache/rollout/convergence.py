"""When a service really runs what was asked: told by tasks of its current spec and by the swarm's own update status.

pulumi-docker's converge_config counts tasks of the former spec too and does not wait for a rollback
(resourceDockerServiceUpdateRefreshFunc); the docker CLI asks the same questions as this module (progress.go).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from msr_cache.refusal import Refusal
from msr_cache.rollout import diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from msr_cache.swarm.manager import Manager

POLL = 0.1
"""Seconds between two looks."""
UNPLACED = 5.0
"""Seconds for which the scheduler may find no node, say because a label was set just now."""
ATTEMPTS = 2
"""How many tasks may end, while they are waited for, before the service is given up."""
PATIENCE = 600.0
"""Seconds for everything that is slow but not wrong, such as pulling an image."""

Service = dict[str, Any]


def current_tasks(manager: Manager, service: Service) -> list[diagnosis.Task]:
    """Return the tasks of the service's current spec, ended ones included."""
    tasks: list[diagnosis.Task] = manager.get("/tasks", service=[service["ID"]], **{"_up-to-date": ["true"]})
    return tasks


def running(tasks: list[diagnosis.Task]) -> set[str]:
    """Return the ids of those that run, which is to say that their port is open, and shall go on running."""
    return {task["ID"] for task in tasks if task["Status"]["State"] == "running" == task["DesiredState"]}


def update_state(service: Service) -> str:
    """Return the state of the service's last update; empty where there was none."""
    return str((service.get("UpdateStatus") or {}).get("State") or "")


def is_settled(manager: Manager, service: Service) -> bool:
    """Whether all replicas run the current spec now, with no update or rollback under way or behind it."""
    replicas: int = service["Spec"]["Mode"]["Replicated"]["Replicas"]
    if update_state(service) not in ("", "completed"):
        return False
    return len(running(current_tasks(manager, service))) >= replicas


def wait(manager: Manager, service_id: str) -> None:
    """Return when the service has settled; raise Refusal with the swarm's own error when it will not."""
    watch = _Watch()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        service = manager.get(f"/services/{service_id}")
        if _has_settled(manager, service, watch):
            return
        time.sleep(POLL)
    message = f"service {service['Spec']['Name']} has not settled in {PATIENCE:.0f} s: docker service ps {service_id}"
    raise Refusal(message)


def wait_off(manager: Manager, service_id: str, node_id: str) -> None:
    """Return when the service has settled without the node, which it may not use any more; raise Refusal as `wait`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        tasks = current_tasks(manager, manager.get(f"/services/{service_id}"))
        if node_id not in {task.get("NodeID") for task in tasks if task["ID"] in running(tasks)}:
            return wait(manager, service_id)
        time.sleep(POLL)
    message = f"service {service_id} has not left node {node_id} in {PATIENCE:.0f} s: docker service ps {service_id}"
    raise Refusal(message)


class _Watch:
    """Since when something holds, in seconds, as seen from here: the swarm's clock may differ."""

    def __init__(self) -> None:
        self._since: dict[object, float] = {}
        self._history: set[str] | None = None

    def ended_since(self, tasks: list[diagnosis.Task]) -> list[diagnosis.Task]:
        """Return the tasks that have ended since the first look: those before may have had reasons long gone."""
        ended = {task["ID"]: task for task in tasks if diagnosis.is_hopeless(task) and not diagnosis.was_moved(task)}
        if self._history is None:
            self._history = set(ended)
        return [task for id_, task in ended.items() if id_ not in self._history]

    def held(self, fact: object, *, now: bool = True) -> float:
        if not now:
            self._since.pop(fact, None)
            return 0.0
        return time.monotonic() - self._since.setdefault(fact, time.monotonic())


def _has_settled(manager: Manager, service: Service, watch: _Watch) -> bool:
    state = update_state(service)
    tasks = current_tasks(manager, service)
    ended = watch.ended_since(tasks)
    if state in ("rollback_completed", "rollback_paused", "paused"):
        _fail(manager, service, f"the swarm's update ended as {state}", _all_tasks(manager, service))
    if state == "rollback_started":
        return False
    unplaced = any(diagnosis.is_unplaced(task) for task in tasks)
    if watch.held("unplaced", now=unplaced) > UNPLACED:
        _fail(manager, service, "the swarm finds no node for it", tasks)
    if state == "updating":
        return False
    replicas: int = service["Spec"]["Mode"]["Replicated"]["Replicas"]
    if len(running(tasks)) >= replicas:
        return True
    if len(ended) >= ATTEMPTS:
        _fail(manager, service, "its tasks end as soon as they start", ended)
    return False


def _all_tasks(manager: Manager, service: Service) -> list[diagnosis.Task]:
    tasks: list[diagnosis.Task] = manager.get("/tasks", service=[service["ID"]])
    return tasks


def _fail(manager: Manager, service: Service, what: str, tasks: list[diagnosis.Task]) -> None:
    culprit = diagnosis.newest(
        task
        for task in tasks
        if task["Status"].get("Err") and (diagnosis.is_hopeless(task) or diagnosis.is_unplaced(task))
    )
    name = service["Spec"]["Name"]
    cause = diagnosis.explain(manager, culprit) if culprit else f"see docker service ps {name}"
    message = (
        f"service {name} does not run as asked: {what}.\n  {cause}\n"
        "  then: pulumi up (with unchanged settings: pulumi up --refresh)"
    )
    raise Refusal(message)


def wait_for_task(manager: Manager, service_id: str, on_failure: Callable[[str], str]) -> None:
    """Return when the service's one task runs; raise Refusal at its first failure."""
    watch = _Watch()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        tasks = manager.get("/tasks", service=[service_id])
        lost = next((task for task in tasks if diagnosis.is_hopeless(task)), None)
        unplaced = next((task for task in tasks if diagnosis.is_unplaced(task)), None)
        if watch.held("unplaced", now=unplaced is not None) > UNPLACED:
            lost = unplaced
        if lost:
            raise Refusal(on_failure(diagnosis.explain(manager, lost)))
        if running(tasks):
            return
        time.sleep(POLL)
    raise Refusal(on_failure(f"it has not started in {PATIENCE:.0f} s: the node may be too slow to pull the image"))
