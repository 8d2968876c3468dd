"""Why a deployment failed: the swarm's own error, the last lines of the task's log, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from msr_cache.rollout import diagnosis
from tests.msr_cache.conftest import refusing, task
from tests.msr_cache.engine import Engine

CRASH = "task: non-zero exit (2)"


def frame(text: str, stream: int = 1) -> bytes:
    """Return a frame of the Engine API's log stream (attach to a container: stream format)."""
    data = text.encode()
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def exited(id_: str = "task-1", err: str = CRASH, code: int = 2) -> dict[str, Any]:
    return task(id_, "failed", err, ContainerStatus={"ExitCode": code})


def explain(swarm: Engine, failed: dict[str, Any]) -> list[str]:
    return diagnosis.explain(swarm.manager, failed).splitlines()


# Errors as Docker Engine 20.10's swarm words them.
@pytest.mark.parametrize(
    ("state", "err", "advice"),
    [
        ("rejected", "No such image: mirantis/dtr-content-cache:2.9.99", "check `image`"),
        ("rejected", "manifest unknown: manifest unknown", "check `image`"),
        ("rejected", "pull access denied for cache, repository does not exist", "check `image`"),
        ("pending", "no suitable node (host-mode port already in use on 1 node)", "choose another `port`"),
        (
            "pending",
            "no suitable node (host-mode port already in use on 1 node; insufficient resources on 1 node)",
            "choose another `port`",
        ),
        (
            "failed",
            "driver failed programming external connectivity: Bind for 0.0.0.0:443 failed: port is already allocated",
            "choose another `port`",
        ),
        ("failed", "listen tcp4 0.0.0.0:443: bind: address already in use", "choose another `port`"),
        ("pending", "no suitable node (scheduling constraints not satisfied on 3 nodes)", "no node carries the label"),
        ("pending", "no suitable node (insufficient resources on 1 node)", "lower `resources.reservations`"),
        ("failed", CRASH, "read the log lines above"),
        ("failed", "task: non-zero exit (2): dockerexec: unhealthy container", "never opened the cache's port"),
    ],
)
def test_each_known_error_comes_with_what_to_do(swarm: Engine, state: str, err: str, advice: str) -> None:
    first, *_, last = explain(swarm, task("task-1", state, err))
    assert first == f"task task-1 on worker-7 {state}: {err}"
    assert last.startswith("  what to do: ")
    assert advice in last


def test_an_unknown_error_is_told_alone(swarm: Engine) -> None:
    assert explain(swarm, task("task-1", "rejected", "something new")) == [
        "task task-1 on worker-7 rejected: something new"
    ]


def test_a_task_that_ended_without_an_error_is_told_by_its_state(swarm: Engine) -> None:
    assert explain(swarm, task("task-1", "complete")) == [
        "task task-1 on worker-7 complete: the task ended by itself (state complete)"
    ]


def test_a_task_that_has_no_node_names_none(swarm: Engine) -> None:
    waiting = task("task-1", "pending", "something")
    del waiting["NodeID"]
    assert explain(swarm, waiting) == ["task task-1 pending: something"]


def test_the_log_of_a_task_that_ran_is_shown_as_it_was_written(swarm: Engine) -> None:
    swarm.log = frame("starting\n") + frame("panic: at the disco\n", stream=2)
    lines = explain(swarm, exited())
    assert lines[:3] == [f"task task-1 on worker-7 failed: {CRASH}", "    starting", "    panic: at the disco"]
    assert ("GET", "/tasks/task-1/logs", {"stdout": "1", "stderr": "1", "tail": "10"}, None) in swarm.asked


def test_a_task_whose_container_never_ran_has_no_log(swarm: Engine) -> None:
    swarm.log = frame("somebody else's\n")
    assert "somebody else's" not in "".join(explain(swarm, task("task-1", "rejected", "No such image: a:b")))
    assert not [path for _, path, _, _ in swarm.asked if path.endswith("/logs")]


def test_an_exit_code_of_zero_has_a_log_too(swarm: Engine) -> None:
    swarm.log = frame("bye\n")
    ended = task("task-1", "complete", ContainerStatus={"ExitCode": 0})
    assert explain(swarm, ended)[1] == "    bye"


def test_only_the_last_lines_are_shown_and_none_is_too_long(swarm: Engine) -> None:
    swarm.log = b"".join(frame(f"line {number} {'x' * 1000}\n") for number in range(40))
    lines = [line.strip() for line in explain(swarm, exited())[1:-1]]
    assert [line.split()[1] for line in lines] == [str(number) for number in range(30, 40)]
    assert {len(line) for line in lines} == {diagnosis.LOG_WIDTH}


def test_several_lines_in_one_frame_are_several(swarm: Engine) -> None:
    swarm.log = frame("one\ntwo\r\nthree")
    assert explain(swarm, exited())[1:4] == ["    one", "    two", "    three"]


@pytest.mark.parametrize("stream", [b"", b"\x01\x00\x00", frame("whole\n")[:-3], b"\x01\x00\x00\x00\xff\xff\xff\xff"])
def test_a_stream_that_is_cut_off_does_no_harm(swarm: Engine, stream: bytes) -> None:
    swarm.log = stream
    assert explain(swarm, exited())[0] == f"task task-1 on worker-7 failed: {CRASH}"


def test_what_is_no_utf8_does_no_harm(swarm: Engine) -> None:
    swarm.log = bytes([1, 0, 0, 0, 0, 0, 0, 3]) + b"a\xffb"
    assert explain(swarm, exited())[1] == "    a�b"


@pytest.mark.parametrize(
    "line",
    [
        "panic: unable to configure registry middleware (downstream): error parsing upstreams",
        "error unmarshaling response from upstream https://msr: invalid character '-' in numeric literal",
    ],
)
def test_a_log_that_tells_another_version_of_msr_is_explained(swarm: Engine, line: str) -> None:
    """Docker KB: "Troubleshooting common DTR content cache issues"."""
    swarm.log = frame(line + "\n")
    assert explain(swarm, exited())[-1] == "  what to do: use the image of your MSR's version"


def test_a_log_or_node_that_cant_be_read_does_not_hide_the_cause() -> None:
    first, second, last = diagnosis.explain(refusing(0, "timed out"), exited()).splitlines()
    assert first == f"task task-1 on node node-1 failed: {CRASH}"
    assert "can't be read" in second
    assert last.startswith("  what to do: ")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2024-05-01T10:00:00.5Z", "2024-05-01T10:00:01.5Z"),
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00.5Z"),
        ("2024-05-01T10:00:00.4Z", "2024-05-01T10:00:00.45Z"),
        ("2024-05-01T09:59:59.999999999Z", "2024-05-01T10:00:00Z"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_task_is_the_one_whose_state_changed_last(older: str, newer: str, turned: bool) -> None:
    """Go writes RFC 3339 times without the zeros at a fraction's end."""
    tasks = [task("older", "failed", Timestamp=older), task("newer", "failed", Timestamp=newer)]
    found = diagnosis.newest(reversed(tasks) if turned else tasks)
    assert found
    assert found["ID"] == "newer"


def test_of_no_tasks_none_is_the_newest() -> None:
    assert diagnosis.newest([]) is None


@pytest.mark.parametrize(
    ("state", "hopeless"),
    [
        *[(state, False) for state in ("new", "pending", "assigned", "preparing", "starting", "running", "shutdown")],
        *[(state, True) for state in ("failed", "rejected", "orphaned", "complete")],
    ],
)
def test_a_task_that_failed_or_ended_by_itself_is_hopeless(state: str, hopeless: bool) -> None:
    """Task states: docs.docker.com, "Swarm task states"; shutdown is what the swarm itself does."""
    assert diagnosis.is_hopeless(task("task-1", state)) is hopeless


def test_only_a_task_that_the_scheduler_has_looked_at_in_vain_is_unplaced() -> None:
    assert diagnosis.is_unplaced(task("t", "pending", "no suitable node (scheduling constraints not satisfied)"))
    assert not diagnosis.is_unplaced(task("t", "pending"))
    assert not diagnosis.is_unplaced(task("t", "assigned", "no suitable node"))
