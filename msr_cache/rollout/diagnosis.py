"""Why a deployment failed, in the swarm's own words, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msr_cache.swarm.manager import Manager

Task = dict[str, Any]

LOG_LINES = 10
LOG_WIDTH = 200
"""Characters of a log line that are shown: the registry writes some of a thousand."""
FAILED_STATES = ("failed", "rejected", "orphaned")
_NO_NODE = "no suitable node"

_ADVICE = (
    (r"No such image|manifest unknown|pull access denied", "check `image`, and that the node reaches its registry"),
    (r"host-mode port already in use", "another service publishes that port on this node: take another `port`"),
    (r"address already in use|port is already allocated", "a process on the node holds that port: take another `port`"),
    (
        r"scheduling constraints not satisfied",
        "no node carries the label: pulumi up --refresh puts it back if somebody has removed it; else check `nodes`",
    ),
    (r"insufficient resources", "no such node has that much free: lower `resources.reservations`"),
    (r"error unmarshaling response|panic: unable to configure registry middleware", "take the image of MSR's version"),
    (
        r"unhealthy container",
        "it runs but never opened the cache's port: check `registryConfig.http`, and the log above",
    ),
    (r"non-zero exit", "read the log lines above; they are the cache's own"),
)


def is_hopeless(task: Task) -> bool:
    """Whether a task has failed, or ended although a cache never should."""
    return task["Status"]["State"] in (*FAILED_STATES, "complete")


def was_moved(task: Task) -> bool:
    """Whether the swarm has ended a task since its node lost the label."""
    return "no longer meets constraints" in task["Status"].get("Err", "")


def is_unplaced(task: Task) -> bool:
    """Whether the scheduler has looked for a node and found none."""
    return task["Status"]["State"] == "pending" and _NO_NODE in task["Status"].get("Err", "")


def newest(tasks: Iterable[Task]) -> Task | None:
    """Return the task that changed its state last."""
    # Without its Z, since the engine leaves off a fraction's last zeros.
    return max(tasks, key=lambda task: str(task["Status"]["Timestamp"]).rstrip("Z"), default=None)


def explain(manager: Manager, task: Task) -> str:
    """Return the swarm's error for `task`, the last lines of its log, and what to do."""
    status = task["Status"]
    said = status.get("Err") or f"the task ended by itself (state {status['State']})"
    where = f" on {_hostname(manager, task['NodeID'])}" if task.get("NodeID") else ""
    found = [f"task {task['ID'][:12]}{where} {status['State']}: {said}"]
    if status.get("ContainerStatus", {}).get("ExitCode") is not None:
        found += [f"    {line}" for line in _last_log_lines(manager, task)]
    text = "\n".join(found)
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), None)
    return f"{text}\n  what to do: {advice}" if advice else text


def _hostname(manager: Manager, node_id: str) -> str:
    try:
        return str(manager.get(f"/nodes/{node_id}")["Description"]["Hostname"])
    except Refusal:
        return f"node {node_id}"


def _last_log_lines(manager: Manager, task: Task) -> list[str]:
    try:
        stream = manager.text(f"/tasks/{task['ID']}/logs", stdout="1", stderr="1", tail=str(LOG_LINES))
    except Refusal as error:
        return [f"(its log can't be read: {error})"]
    lines = []
    # Engine API, "attach to a container": frames of one byte stream, three zero bytes, four bytes length, then data.
    while len(stream) >= 8:  # noqa: PLR2004 - the frame's header
        length = int.from_bytes(stream[4:8])
        lines += stream[8 : 8 + length].decode(errors="replace").splitlines()
        stream = stream[8 + length :]
    return [line[:LOG_WIDTH] for line in lines[-LOG_LINES:]]
