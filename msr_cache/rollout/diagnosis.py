"""Explains why a deployment failed: the swarm's own error, the task's log, and what to do."""

import re
from collections.abc import Iterable
from typing import Any

from msr_cache.foreign import shown
from msr_cache.refusal import Refusal
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.nodes import hostname

Task = dict[str, Any]

LOG_LINES = 10
LOG_WIDTH = 200
"""Characters shown of each log line: some of the registry's have a thousand."""

_ADVICE = {
    "No such image|manifest unknown|pull access denied": (
        "check `image`, and that the node reaches its registry, or has the image (docker load); if the registry asks "
        "for a login, set msr-cache:imageRegistries"
    ),
    "bind source path does not exist": "create the folder on each of `nodes`, or correct `volume.bind`",
    "failed to mount|error while mounting volume|VolumeDriver": (
        "check `volume`, and that each node reaches the server and has the client or the driver for it"
    ),
    "host-mode port already in use": "another service publishes that port on this node: choose another `port`",
    "address already in use|port is already allocated": "a process on the node holds that port: choose another `port`",
    "scheduling constraints not satisfied": (
        "no node carries the label: if it was removed, pulumi up --refresh restores it; else check `nodes`"
    ),
    "insufficient resources": "no node with the label has that much free: lower `resources.reservations`",
    "error unmarshaling response|panic: unable to configure registry middleware": "use the image of your MSR's version",
    "unhealthy container": "it runs but never opened the cache's port: check `registryConfig.http` and the log above",
    "non-zero exit": "read the log lines above, which the cache wrote",
}
"""What to do about an error: the first pattern that matches wins."""


def is_hopeless(task: Task) -> bool:
    """Whether a task has failed, or ended, which a cache's never should."""
    return task["Status"]["State"] in ("failed", "rejected", "orphaned", "complete")


def was_moved(task: Task) -> bool:
    """Whether the swarm ended a task because its node lost the label."""
    return "no longer meets constraints" in task["Status"].get("Err", "")


def is_unplaced(task: Task) -> bool:
    """Whether the scheduler finds no node for a task."""
    return task["Status"]["State"] == "pending" and "no suitable node" in task["Status"].get("Err", "")


def waits_for_port(task: Task) -> bool:
    """Whether the scheduler finds no node because another task holds the port there."""
    return "host-mode port already in use" in task["Status"].get("Err", "")


def newest(tasks: Iterable[Task]) -> Task | None:
    """Return the task that changed its state last."""
    # Without Z, because the engine omits a fraction's trailing zeros.
    return max(tasks, key=lambda task: str(task["Status"]["Timestamp"]).rstrip("Z"), default=None)


def explain(manager: Manager, task: Task) -> str:
    """Return the swarm's error for `task`, the last lines of its log, and what to do."""
    status = task["Status"]
    error = shown(status.get("Err") or "") or f"the task ended by itself (state {status['State']})"
    where = f" on {_hostname(manager, task['NodeID'])}" if task.get("NodeID") else ""
    found = [f"task {task['ID'][:12]}{where} {status['State']}: {error}"]
    if status.get("ContainerStatus", {}).get("ExitCode") is not None:
        found += [f"    {line}" for line in _last_log_lines(manager, task)]
    text = "\n".join(found)
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, text)), None)
    return f"{text}\n  what to do: {advice}" if advice else text


def _hostname(manager: Manager, node_id: str) -> str:
    try:
        return hostname(manager.get(f"/nodes/{node_id}"))
    except Refusal:
        return f"node {node_id}"


def _last_log_lines(manager: Manager, task: Task) -> list[str]:
    try:
        stream = manager.text(f"/tasks/{task['ID']}/logs", stdout="1", stderr="1", tail=str(LOG_LINES))
    except Refusal as error:
        return [f"(its log can't be read: {error})"]
    lines = []
    # Engine API, "attach to a container": frames of one byte (the stream), three zeros, four bytes of length, and data.
    while len(stream) >= 8:  # noqa: PLR2004 - the frame's header
        length = int.from_bytes(stream[4:8])
        lines += stream[8 : 8 + length].decode(errors="replace").splitlines()
        stream = stream[8 + length :]
    return [shown(line, longest=LOG_WIDTH) for line in lines[-LOG_LINES:]]
