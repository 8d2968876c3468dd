"""When a service really runs what was asked; the swarm lives by a script and a clock that sleeping makes go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import pytest

from msr_cache.refusal import Refusal
from msr_cache.rollout import convergence
from msr_cache.swarm.manager import EngineError, Manager
from tests.msr_cache.conftest import task
from tests.msr_cache.engine import Clock, Engine

SwarmOf = Callable[[int], Engine]
PORT_IN_USE = "no suitable node (host-mode port already in use on 1 node)"
NOT_AVAILABLE = "no suitable node (2 nodes not available for new tasks; scheduling constraints not satisfied on 1 node)"
NO_NODE = "no suitable node (scheduling constraints not satisfied on 1 node)"
LOOK = 0.21
"""Seconds by which a wait may be longer than it must."""


def refusal(swarm: Engine) -> str:
    with pytest.raises(Refusal) as caught:
        convergence.wait(swarm.manager, "service-1")
    return str(caught.value)


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look seldom, where a wait is long."""
    monkeypatch.setattr(convergence, "POLL", 5)


# A service that settles


def test_all_replicas_must_run(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(2)
    swarm.then(0, [task("a", "running"), task("b", "preparing")]).then(9, [task("a", "running"), task("b", "running")])
    convergence.wait(swarm.manager, "service-1")
    assert 9 <= swarm.seconds < 9 + LOOK


def test_an_update_under_way_is_waited_for_even_if_enough_tasks_run(swarm: Engine) -> None:
    swarm.then(0, [task("a", "running")], "updating").then(30, [task("a", "running")], "completed")
    convergence.wait(swarm.manager, "service-1")
    assert 30 <= swarm.seconds < 30 + LOOK


def test_no_replicas_have_settled_at_once(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(0)
    convergence.wait(swarm.manager, "service-1")
    assert swarm.seconds == 0


# What is told meanwhile


def test_each_state_of_a_task_is_told_with_its_node_after_two_seconds(swarm: Engine, told: list[str]) -> None:
    old = task("old", "running")
    unplaced = task("new", "pending", PORT_IN_USE)
    del unplaced["NodeID"]
    swarm.then(0, [old, task("new", "preparing")], "updating").then(9, [ENDING, task("new", "ready")], "updating")
    swarm.then(14, [unplaced], "updating").then(20, [task("new", "running")], "updating")
    swarm.then(25, [task("new", "running")], "completed")
    convergence.wait(swarm.manager, "service-1")
    assert told == [
        "waiting for service asia_cache: task new on worker-7, preparing, which includes a pull of the image",
        "waiting for service asia_cache: task old on worker-7, stopping",
        f"waiting for service asia_cache: task new, pending: {PORT_IN_USE}",
        "waiting for service asia_cache: the swarm's update (updating)",
    ]


@pytest.mark.parametrize("failures", [3, 4])
def test_a_manager_that_does_not_answer_for_three_seconds_is_told(
    swarm: Engine, told: list[str], failures: int
) -> None:
    swarm.then(0, [task("a", "running")])
    swarm.faults = repeat((503, "no leader"), failures)
    convergence.wait(swarm.manager, "service-1")
    assert len(told) == failures - 3
    assert all(line.startswith("waiting for the swarm manager, for up to 30 s: ") for line in told)
    assert all(line.endswith("no leader") for line in told)


# One that does not


@pytest.mark.parametrize("end", ["rollback_completed", "rollback_paused", "paused"])
def test_an_update_that_the_swarm_gave_up_is_refused_with_the_tasks_error(swarm: Engine, end: str) -> None:
    """After a rollback the spec is the old one again, so the task that failed is one of a former spec."""
    failed = task("new", "rejected", "No such image: cache:9", desired="shutdown", former=True)
    old = task("old", "running")
    swarm.then(0, [old], "updating").then(2, [old, failed], "rollback_started").then(4, [old, failed], end)
    told = refusal(swarm)
    assert 4 <= swarm.seconds < 4 + LOOK
    assert told.startswith(f"service asia_cache does not run as asked: the swarm's update ended as {end}.\n")
    assert "task new on worker-7 rejected: No such image: cache:9" in told
    assert "what to do: check `image`" in told
    assert "pulumi up" in told.splitlines()[-1]


def test_the_newest_failure_is_the_one_that_is_told(swarm: Engine) -> None:
    tasks = [
        task("first", "failed", "old reason", Timestamp="2024-05-01T10:00:00Z"),
        task("last", "failed", "new reason", Timestamp="2024-05-02T10:00:00Z"),
        task("stopped", "shutdown", "", Timestamp="2024-05-03T10:00:00Z"),
    ]
    swarm.then(0, tasks, "paused")
    told = refusal(swarm)
    assert "new reason" in told
    assert "old reason" not in told


def test_a_failure_without_an_error_points_to_docker(swarm: Engine) -> None:
    swarm.then(0, [], "paused")
    assert "see docker service ps asia_cache" in refusal(swarm)


def test_a_service_for_which_there_is_no_node_is_given_up_after_a_few_seconds(swarm: Engine) -> None:
    swarm.then(1, [task("a", "pending", NO_NODE)])
    told = refusal(swarm)
    assert 6 < swarm.seconds < 6 + 2 * LOOK
    assert "the swarm finds no node for it" in told
    assert NO_NODE in told
    assert "what to do: no node carries the label" in told


RUNS = [task("a", "running")]
FORMER, ENDING = task("old", "running", former=True), task("old", "running", desired="shutdown")
HOPEFUL: dict[str, list[tuple[float, list[dict[str, Any]]]]] = {
    "its task starts": [(1, [task("a", "preparing")]), (3, RUNS)],
    "a task of the former spec runs": [(0, [FORMER, task("a", "preparing")]), (20, [FORMER, *RUNS])],
    "a task that shall end runs": [(0, [ENDING]), (20, [ENDING, *RUNS])],
    "a stopping task holds the port for its grace period": [
        (0, [task("a", "pending", PORT_IN_USE)]),
        (14.5, RUNS),
    ],
    "the scheduler has not seen a new label yet": [
        (0, [task("a", "pending", NO_NODE)]),
        (4.5, RUNS),
    ],
    "seconds without a node count in a row": [
        (0, [task("a", "pending", NO_NODE)]),
        (4, [task("a", "preparing")]),
        (5, [task("a", "pending", NO_NODE)]),
        (9, RUNS),
    ],
    "a task waits for something else than a node": [(0, [task("a", "pending")]), (100, RUNS)],
    "a task more than asked for runs": [(3, [*RUNS, task("b", "running")])],
    "a task that ends once may be an accident": [
        (1, [task("one", "failed", "exit")]),
        (6, [task("one", "failed", "exit"), *RUNS]),
    ],
}


@pytest.mark.parametrize("case", HOPEFUL)
def test_what_may_pass_is_waited_for(swarm: Engine, case: str) -> None:
    for second, tasks in HOPEFUL[case]:
        swarm.then(second, tasks)
    convergence.wait(swarm.manager, "service-1")
    assert HOPEFUL[case][-1][0] <= swarm.seconds < HOPEFUL[case][-1][0] + LOOK


def test_a_node_that_a_new_leader_has_not_heard_from_yet_is_waited_for(swarm: Engine) -> None:
    pending = [task("a", "pending", NOT_AVAILABLE)]
    swarm.then(0, pending, nodes="unknown").then(30, pending, nodes="ready").then(34.5, RUNS)
    convergence.wait(swarm.manager, "service-1")
    assert 34.5 <= swarm.seconds < 34.5 + LOOK


def test_a_node_that_a_new_leader_has_given_up_is_reported(swarm: Engine) -> None:
    pending = [task("a", "pending", NOT_AVAILABLE)]
    swarm.then(0, pending, nodes="unknown").then(30, pending, nodes="down")
    told = refusal(swarm)
    assert NOT_AVAILABLE in told
    assert "what to do: start the node that carries the label" in told
    assert 35 < swarm.seconds < 35 + 2 * LOOK


def test_a_port_that_is_not_freed_is_reported(swarm: Engine) -> None:
    swarm.then(0, [task("a", "pending", PORT_IN_USE)])
    told = refusal(swarm)
    assert "what to do: another service publishes that port" in told
    assert "If it is a cache that you removed from the config, first run pulumi up without this one" in told
    assert swarm.seconds < 15 + 2 * LOOK


def test_an_update_for_which_there_is_no_node_is_given_up_too(swarm: Engine) -> None:
    """The swarm itself would go on updating for ever."""
    swarm.then(0, [task("old", "running", former=True), task("new", "pending", NO_NODE)], "updating")
    assert NO_NODE in refusal(swarm)
    assert swarm.seconds < 5 + 2 * LOOK


@pytest.mark.parametrize("ids", ["12", "123"])
def test_tasks_that_end_twice_are_given_up_with_the_log(swarm: Engine, ids: str) -> None:
    crash = "task: non-zero exit (2)"
    ended = [task(id_, "failed", crash, ContainerStatus={"ExitCode": 2}) for id_ in ids]
    swarm.then(1, [task("1", "starting")]).then(2, ended[:1]).then(8, ended)
    swarm.log = bytes([2, 0, 0, 0, 0, 0, 0, 6]) + b"panic!"
    told = refusal(swarm)
    assert 8 <= swarm.seconds < 8 + LOOK
    assert "its tasks end as soon as they start" in told
    assert crash in told
    assert "    panic!" in told


def test_tasks_that_had_ended_before_do_not_count(swarm: Engine) -> None:
    """Their reasons may be long gone: a port that is free again, an image that has been pushed since."""
    history = [task(id_, "failed", "exit") for id_ in ("one", "two", "three")]
    swarm.then(0, history).then(20, [*history, task("four", "failed", "exit")])
    swarm.then(30, [*history, task("five", "running")])
    convergence.wait(swarm.manager, "service-1")
    assert 30 <= swarm.seconds < 30 + LOOK


@pytest.mark.usefixtures("seldom")
def test_what_is_slow_is_given_up_after_ten_minutes(swarm: Engine) -> None:
    swarm.then(0, [task("a", "preparing")])
    assert "has not settled in 600 s: docker service ps service-1" in refusal(swarm)
    assert 600 <= swarm.seconds < 600 + LOOK


@pytest.mark.usefixtures("seldom")
def test_the_time_for_which_the_swarm_monitors_each_new_task_is_added(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(2)
    swarm.service["Spec"]["UpdateConfig"] = {"Monitor": 900 * 10**9}
    both = [task("a", "running"), task("b", "running")]
    swarm.then(0, both, "updating").then(2 * 900 + 300, both, "completed")
    convergence.wait(swarm.manager, "service-1")
    swarm.then(swarm.seconds, both, "updating")
    assert "has not settled in 2400 s" in refusal(swarm)


@pytest.fixture
def pauses(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses between two attempts, which take no time either."""
    made: list[float] = []

    def pause(seconds: float) -> None:
        made.append(seconds)
        clock.sleep(seconds)

    monkeypatch.setattr("tenacity.time", clock)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pause))
    return made


NO_ANSWER = (0, "timed out")


@pytest.mark.parametrize(
    "fault", [NO_ANSWER, (503, "The swarm does not have a leader")], ids=["no answer", "no leader"]
)
def test_a_manager_that_fails_for_a_moment_ends_no_wait(
    swarm: Engine, pauses: list[float], fault: tuple[int, str]
) -> None:
    swarm.then(0, [task("a", "running")]).faults = repeat(fault, 6)
    convergence.wait(swarm.manager, "service-1")
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5]


def test_a_manager_that_stays_away_is_reported_after_half_a_minute(swarm: Engine, pauses: list[float]) -> None:
    swarm.faults = repeat(NO_ANSWER)
    assert "expected a manager that answers" in refusal(swarm)
    assert 30 <= sum(pauses) < 35


def test_a_manager_that_refuses_is_not_asked_again(swarm: Engine, pauses: list[float]) -> None:
    swarm.faults = iter([(403, "no right")])
    assert "no right" in refusal(swarm)
    assert not pauses


def test_an_interrupted_run_waits_no_longer(swarm: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = threading.Event()
    interrupted.set()
    monkeypatch.setattr(convergence, "interrupted", interrupted)
    swarm.then(0, [task("a", "preparing")])
    assert "was interrupted" in refusal(swarm)
    assert swarm.seconds < LOOK


def test_a_service_is_stopped_when_the_swarm_has_forgotten_the_tasks_that_ran(swarm: Engine) -> None:
    """To delete the service while it forgets them crashes the manager's engine. It keeps former ones."""
    former, stopped = task("b", "shutdown", desired="shutdown"), task("a", "shutdown", desired="remove")
    swarm.then(0, [former, task("a", "running")]).then(9, [former, stopped]).then(11, [former])
    convergence.stop(swarm.manager, "service-1")
    assert swarm.service["Spec"]["Mode"] == {"Replicated": {"Replicas": 0}}
    assert 11 <= swarm.seconds < 11 + LOOK


def test_a_swarm_that_drops_the_stop_of_a_task_is_asked_again(swarm: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """swarmkit logs "failed to update task to REMOVE: update out of sequence", and leaves the task as it is."""
    asked: list[int] = []

    def scale(_manager: Manager, _service: object, replicas: int) -> None:
        asked.append(replicas)
        if len(asked) == 2:
            raise EngineError("tcp://m", 500, "update out of sequence")
        if len(asked) == 3:
            swarm.then(swarm.seconds, [task("a", "running", desired="remove")]).then(swarm.seconds + 9, [])

    monkeypatch.setattr(convergence, "scale", scale)
    swarm.then(0, [task("a", "running")])
    convergence.stop(swarm.manager, "service-1")
    assert asked == [0, 0, 0]
    assert 9 <= swarm.seconds < 10


def test_a_node_that_is_away_keeps_no_service_from_being_stopped(swarm: Engine) -> None:
    swarm.then(0, [task("a", "running", desired="remove")])
    convergence.stop(swarm.manager, "service-1")
    assert 20 <= swarm.seconds < 20 + LOOK


# Whether there is something to wait for


@pytest.mark.parametrize(
    ("update", "settled"),
    [
        ("", True),
        ("completed", True),
        *[(state, False) for state in ("updating", "paused", "rollback_started", "rollback_paused")],
        ("rollback_completed", False),
    ],
)
def test_a_service_has_settled_unless_an_update_is_under_way_or_failed(
    swarm: Engine, update: str, settled: bool
) -> None:
    swarm.then(0, [task("a", "running")], update)
    assert convergence.is_settled(swarm.manager, swarm.manager.get("/services/service-1")) is settled


def test_a_service_of_which_too_few_tasks_run_has_not_settled(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(2).then(0, [task("a", "running"), task("b", "failed", "exit"), task("c", "running", former=True)])
    assert not convergence.is_settled(swarm.manager, swarm.manager.get("/services/service-1"))


# One task


def wait_for_task(swarm: Engine) -> None:
    convergence.wait_for_task(swarm.manager, "service-1", lambda cause: f"tried in vain: {cause}")


def test_a_single_task_is_waited_for_until_it_runs(swarm: Engine) -> None:
    swarm.then(0, [task("a", "preparing")]).then(7, [task("a", "running")])
    wait_for_task(swarm)
    assert 7 <= swarm.seconds < 7 + LOOK


@pytest.mark.parametrize("state", ["failed", "rejected", "complete"])
def test_a_single_tasks_first_failure_is_enough(swarm: Engine, state: str) -> None:
    swarm.then(0, [task("a", "starting")]).then(0.5, [task("a", state, "No such image: a:b")])
    with pytest.raises(Refusal, match=r"^tried in vain: task a on worker-7 \w+: No such image: a:b"):
        wait_for_task(swarm)
    assert swarm.seconds < 1


def test_a_single_task_without_a_node_is_given_up(swarm: Engine) -> None:
    swarm.then(0, [task("a", "pending", NO_NODE)])
    with pytest.raises(Refusal, match="what to do: no node carries the label"):
        wait_for_task(swarm)
    assert 5 < swarm.seconds < 5 + 2 * LOOK


@pytest.mark.usefixtures("seldom")
def test_a_single_task_that_never_starts_is_given_up(swarm: Engine) -> None:
    swarm.then(0, [task("a", "preparing")])
    with pytest.raises(Refusal, match="tried in vain: it has not started in 600 s"):
        wait_for_task(swarm)


# A node that may not be used any more


def test_a_service_that_is_put_off_a_node_is_waited_for_until_it_runs_elsewhere(swarm: Engine) -> None:
    moved = task("b", "running") | {"NodeID": "node-2"}
    swarm.then(0, [task("a", "running")], "completed")
    swarm.then(4, [task("a", "rejected", "not allowed", desired="shutdown")], "completed")
    swarm.then(9, [moved], "completed")
    convergence.wait_off(swarm.manager, "service-1", "node-1")
    assert 9 <= swarm.seconds < 9 + 2 * LOOK


def test_a_service_that_is_put_off_its_last_node_is_told(swarm: Engine) -> None:
    swarm.then(0, [task("a", "running")], "completed").then(1, [task("b", "pending", NO_NODE)], "completed")
    with pytest.raises(Refusal, match="the swarm finds no node for it"):
        convergence.wait_off(swarm.manager, "service-1", "node-1")


def test_tasks_that_other_nodes_lose_at_the_same_time_are_no_failures(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(3)
    lost = "assigned node no longer meets constraints"
    moved = [task(id_, "rejected", lost, desired="shutdown") for id_ in ("a", "b", "c")]
    swarm.then(0, [task(id_, "running") | {"NodeID": "node-9"} for id_ in ("a", "b", "c")])
    swarm.then(0.5, moved[:1]).then(1, moved).then(7, [*moved, *(task(id_, "running") for id_ in ("d", "e", "f"))])
    convergence.wait_off(swarm.manager, "service-1", "node-9")
    assert 7 <= swarm.seconds < 7 + LOOK


@pytest.mark.usefixtures("seldom")
def test_a_service_that_never_leaves_the_node_is_given_up(swarm: Engine) -> None:
    swarm.then(0, [task("a", "running")])
    with pytest.raises(Refusal, match="service service-1 has not left node node-1 in 600 s"):
        convergence.wait_off(swarm.manager, "service-1", "node-1")
