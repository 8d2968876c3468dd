"""Waits until a service runs its current spec, as that spec's tasks and the swarm's update status show.

pulumi-docker's converge_config also counts tasks of the former spec and does not wait for a rollback
(resourceDockerServiceUpdateRefreshFunc); the docker CLI checks the same facts as this module (progress.go).
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tenacity import RetryCallState, retry, retry_if_exception, stop_after_delay, wait_exponential

from msr_cache.foreign import shown
from msr_cache.progress import Progress, tell
from msr_cache.refusal import Refusal
from msr_cache.rollout import diagnosis
from msr_cache.rollout.diagnosis import Task
from msr_cache.rollout.interruption import interrupted
from msr_cache.swarm.manager import INTERNAL_ERROR, EngineError, Manager

POLL = 0.2
"""Seconds between two looks, as docker's own client has it (docker/cli, service/progress/progress.go)."""
GRACE_PERIOD = 10
"""Seconds that the swarm gives a cache's task to stop, and for which it may keep its port."""
UNPLACED = 5.0
"""Seconds for which the scheduler may find no node, for example because a label has only just been set."""
TOLERANCE = 30.0
"""Seconds for which a manager may fail to answer during a wait, for example because the swarm elects a leader."""
ATTEMPTS = 2
"""How many tasks may end during a wait before the service counts as failed."""
PATIENCE = 600.0
"""Seconds for everything that is slow but not wrong, such as pulling an image."""

GONE = "service {} is gone: run pulumi up --refresh"
SERVICE_REMOVED = "the cache's service was removed outside Pulumi: restore it with pulumi up --refresh"
Service = dict[str, Any]
_ENDED = ("complete", "failed", "orphaned", "rejected", "remove", "shutdown")


def _may_pass(error: BaseException) -> bool:
    """Whether a manager may answer when asked again: it did not answer at all, or could not."""
    return isinstance(error, Refusal) and not (isinstance(error, EngineError) and error.status < INTERNAL_ERROR)


def _tell(attempts: RetryCallState) -> None:
    if attempts.attempt_number == 4:  # noqa: PLR2004 - after three seconds
        error = attempts.outcome and attempts.outcome.exception()
        tell(f"the swarm manager, for up to {TOLERANCE:.0f} s: {error}")


_patiently = retry(
    retry=retry_if_exception(_may_pass),
    stop=stop_after_delay(TOLERANCE),
    wait=wait_exponential(0.2, max=5),
    before_sleep=_tell,
    reraise=True,
)


@_patiently
def _tasks(manager: Manager, service_id: str, **filters: list[str]) -> list[Task]:
    tasks: list[Task] = manager.get("/tasks", service=[service_id], **filters)
    return tasks


@_patiently
def _find(manager: Manager, service_id: str) -> Service | None:
    return manager.find(f"/services/{service_id}")


@_patiently
def _knows_each_node(manager: Manager) -> bool:
    """Whether the manager that leads has heard from each node, or given it up: once elected, it waits for 30 seconds.

    Until then the node's state is `unknown`, and the scheduler does without it (swarmkit v2.0.0, manager/dispatcher:
    markNodesUnknown in dispatcher.go, gracePeriodMultiplierUnknown in nodes.go).
    """
    return all(node["Status"]["State"] != "unknown" for node in manager.get("/nodes"))


def _service(manager: Manager, service_id: str) -> Service:
    service = _find(manager, service_id)
    if service is None:
        raise Refusal(SERVICE_REMOVED)
    return service


def current_tasks(manager: Manager, service: Service) -> list[Task]:
    """Return the tasks of the service's current spec, ended ones included."""
    return _tasks(manager, service["ID"], **{"_up-to-date": ["true"]})


def running(tasks: list[Task]) -> list[Task]:
    """Return those that run, which means that their port is open, and that the swarm is not stopping."""
    return [task for task in tasks if task["Status"]["State"] == "running" == task["DesiredState"]]


def is_settled(manager: Manager, service: Service) -> bool:
    """Whether all replicas run the current spec, and the last update, if there was one, is complete."""
    return _update_state(service) in ("", "completed") and _runs(service, current_tasks(manager, service))


def _update_state(service: Service) -> str:
    return str((service.get("UpdateStatus") or {}).get("State") or "")


def _runs(service: Service, tasks: list[Task]) -> bool:
    return len(running(tasks)) >= replicas(service)


def replicas(service: Service) -> int:
    """Return how many tasks a service is to have; Refusal: it has one on each node, or ends."""
    if replicated := (service["Spec"].get("Mode") or {}).get("Replicated"):
        return int(replicated["Replicas"])
    name = service["Spec"]["Name"]
    raise Refusal(f"service {shown(name)} has another mode than replicated, which no cache has: docker service ls")


def wait(manager: Manager, service_id: str) -> None:
    """Return when the service has settled; raise Refusal with the swarm's own error if it fails to."""
    watch = _Watch()
    service = _service(manager, service_id)
    patience = PATIENCE + _monitored(service)
    for _ in _looks(manager, service_id, patience):
        if _has_settled(manager, service, watch):
            return
        service = _service(manager, service_id)
    name = service["Spec"]["Name"]
    raise Refusal(f"service {name} has not settled in {patience:.0f} s: docker service ps {service_id}")


def stop(manager: Manager, service_id: str) -> None:
    """Scale the service to zero, and return when the swarm has forgotten the tasks that ran, or their time is up.

    The swarm forgets a task up to a quarter of a second after its end. The engine of the manager that leads crashes if
    the service is deleted at that moment (swarmkit v2.0.0, manager/orchestrator/service.go, SetServiceTasksRemove).
    It keeps former tasks, whose desired state is `shutdown`, until the service is gone.

    If a task changes while the swarm stops it, the swarm only logs "update out of sequence", and the task runs on until
    the service changes again (swarmkit v2.0.0, manager/orchestrator/replicated/services.go, setTasksDesiredState).

    The pulumi-docker plugin, which deletes the service next, waits for exactly the grace period, and then fails
    (kreuzwerker/terraform-provider-docker, deleteService).
    """
    _scale_to_zero(manager, service_id)
    for _ in _looks(manager, service_id, 2 * GRACE_PERIOD):
        tasks = _tasks(manager, service_id)
        if any(task["DesiredState"] not in ("shutdown", "remove") for task in tasks):
            _scale_to_zero(manager, service_id)
        elif all(task["Status"]["State"] in _ENDED and task["DesiredState"] != "remove" for task in tasks):
            return


@_patiently
def _scale_to_zero(manager: Manager, service_id: str) -> None:
    scale(manager, manager.get(f"/services/{service_id}"), 0)


def scale(manager: Manager, service: Service, replicas: int) -> None:
    """Change nothing but the number of the service's tasks."""
    manager.update("services", service, {**service["Spec"], "Mode": {"Replicated": {"Replicas": replicas}}})


def wait_off(manager: Manager, service_id: str, node_id: str) -> None:
    """Return when the service has left the node and settled on others; raise Refusal as `wait` does."""
    for _ in _looks(manager, service_id):
        tasks = current_tasks(manager, _service(manager, service_id))
        if node_id not in {task.get("NodeID") for task in running(tasks)}:
            return wait(manager, service_id)
    raise Refusal(
        f"service {service_id} has not left node {node_id} in {PATIENCE:.0f} s: docker service ps {service_id}"
    )


def wait_for_task(manager: Manager, service_id: str, on_failure: Callable[[str], str]) -> None:
    """Return when the service's one task runs; at its first failure, raise Refusal with on_failure(cause)."""
    watch = _Watch()
    for _ in _looks(manager, service_id):
        tasks = _tasks(manager, service_id)
        failed = [task for task in tasks if diagnosis.is_hopeless(task)] or watch.unplaced(manager, tasks)
        if failed:
            raise Refusal(on_failure(diagnosis.explain(manager, failed[0])))
        if running(tasks):
            return
    raise Refusal(on_failure(f"it has not started in {PATIENCE:.0f} s: the node may be too slow to pull the image"))


def _monitored(service: Service) -> float:
    """Return the seconds for which the swarm watches the new tasks of an update, one after the other."""
    monitor: float = (service["Spec"].get("UpdateConfig") or {}).get("Monitor", 0) / 1e9
    return monitor * replicas(service)


def _looks(manager: Manager, service_id: str, patience: float = PATIENCE) -> Iterator[None]:
    """Yield every POLL seconds until patience (in seconds) ends, or the run is interrupted; tell what is waited for."""
    deadline, progress = time.monotonic() + patience, Progress()
    while time.monotonic() < deadline:
        yield
        if interrupted.is_set():
            raise Refusal("the run was interrupted: run pulumi up again")
        progress.look(partial(next_step, manager, service_id))
        time.sleep(POLL)


def next_step(manager: Manager, service_id: str) -> str:
    """Return what the service waits for, for an operator to read."""
    service = _service(manager, service_id)
    alive = [task for task in _tasks(manager, service_id) if task["Status"]["State"] not in _ENDED]
    name, settled = f"service {service['Spec']['Name']}", running(alive)
    coming = [task for task in alive if task not in settled]
    # One that stops holds up the one that is to follow.
    if task := diagnosis.newest(each for each in coming if each["Status"]["State"] == "running"):
        return f"{name}: {diagnosis.named(manager, task)}, stopping"
    if task := diagnosis.newest(coming):
        state, why = task["Status"]["State"], shown(task["Status"].get("Err") or "")
        doing = "preparing, which includes a pull of the image" if state == "preparing" else state
        return f"{name}: {diagnosis.named(manager, task)}, {doing}{why and f': {why}'}"
    return f"{name}: the swarm's update ({_update_state(service) or 'no task yet'})"


class _Watch:
    """Remembers earlier looks at a service's tasks, by this machine's clock: the swarm's may differ."""

    def __init__(self) -> None:
        self._unplaced_since: float | None = None
        self._ended_before: set[str] | None = None

    def unplaced(self, manager: Manager, tasks: list[Task]) -> list[Task]:
        """Return the tasks without a node, once there have been some for too long though the state of all is known."""
        unplaced = [task for task in tasks if diagnosis.is_unplaced(task)]
        if not unplaced or not _knows_each_node(manager):
            self._unplaced_since = None
        elif self._unplaced_since is None:
            self._unplaced_since = time.monotonic()
        elif time.monotonic() - self._unplaced_since > _patience_with(unplaced):
            return unplaced
        return []

    def ended(self, tasks: list[Task]) -> list[Task]:
        """Return the tasks that have ended after the first look: what ended earlier ones may be gone."""
        ended = [task for task in tasks if diagnosis.is_hopeless(task) and not diagnosis.was_moved(task)]
        if self._ended_before is None:
            self._ended_before = {task["ID"] for task in ended}
        return [task for task in ended if task["ID"] not in self._ended_before]


def _patience_with(unplaced: list[Task]) -> float:
    """Return for how many seconds the scheduler may find no node; a port may belong to a task that is stopping."""
    return UNPLACED + (GRACE_PERIOD if any(map(diagnosis.waits_for_port, unplaced)) else 0)


def _has_settled(manager: Manager, service: Service, watch: _Watch) -> bool:
    state = _update_state(service)
    tasks = current_tasks(manager, service)
    ended = watch.ended(tasks)
    if state in ("rollback_completed", "rollback_paused", "paused"):
        all_tasks = _tasks(manager, service["ID"])
        raise _failure(manager, service, f"the swarm's update ended as {state}", all_tasks)
    if state == "rollback_started":
        return False
    if watch.unplaced(manager, tasks):
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
