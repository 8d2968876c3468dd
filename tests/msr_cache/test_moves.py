"""What a run does to the nodes of a cache that serves: nothing that switches it off, before anything is declared."""

from __future__ import annotations

import pytest

from msr_cache import moves
from msr_cache.refusal import Refusal
from tests.msr_cache.conftest import STATE_ID, listing, node
from tests.msr_cache.engine import Engine
from tests.msr_cache.resources.test_node_label import (
    KEY,
    LABEL,
    MINE,
    OF_EARLIER,
    OTHER_STATE,
    OURS,
    STRANDED,
)


def check(manager: Engine, *names: str, state: str | None = STATE_ID) -> list[str]:
    return moves.check_nodes(manager.manager, manager.manager.get("/nodes"), list(names), {**LABEL, "state": state})


def try_move(manager: Engine, *names: str, state: str | None = STATE_ID) -> None:
    moves.try_nodes(manager.manager, manager.manager.get("/nodes"), list(names), {**LABEL, "state": state})


def test_a_move_off_the_last_node_that_serves_is_refused_while_no_other_takes_tasks() -> None:
    swarm = listing(node("a", **MINE), node("b", "down", **MINE), running_on=("a",), key=KEY)
    with pytest.raises(Refusal, match=STRANDED):
        check(swarm, "b")


def test_a_move_off_a_paused_node_is_refused_since_the_swarm_would_move_nothing_off_it() -> None:
    swarm = listing(node("a", "ready", "pause", **MINE), node("b"), running_on=("a",), key=KEY)
    with pytest.raises(
        Refusal, match=r"nodes: node a is set to pause, .*: docker node update --availability active a$"
    ):
        check(swarm, "b")


@pytest.mark.parametrize(
    ("swarm", "names"),
    [
        pytest.param(listing(node("a", **MINE), node("b"), running_on=("a",), key=KEY), "b", id="the other takes it"),
        pytest.param(
            listing(node("a", **MINE), node("b", "down"), node("c"), running_on=("a",), key=KEY), "bc", id="one does"
        ),
        pytest.param(listing(node("a", **MINE), node("b", "down", **MINE)), "b", id="the cache serves nowhere"),
        pytest.param(
            listing(node("a", "down", **MINE), node("b", "down", **MINE), running_on=("c",), key=KEY),
            "b",
            id="it serves elsewhere",
        ),
        pytest.param(
            listing(node("a", **MINE), node("b", "down"), running_on=("a",), key="other"), "b", id="by another label"
        ),
        pytest.param(
            listing(node("a", **MINE), node("b", "ready", "pause", **MINE), running_on=("a", "b"), key=KEY),
            "b",
            id="it serves on a paused node too",
        ),
        pytest.param(
            listing(node("a", "ready", "pause", **MINE), node("b", **MINE), running_on=("b",), key=KEY),
            "b",
            id="it does not serve on the paused node that leaves",
        ),
    ],
)
def test_a_move_that_switches_nothing_off_passes_without_a_word(swarm: Engine, names: str) -> None:
    assert check(swarm, *names) == []


BOTH_LABELLED = (node("a", **MINE), node("b", **MINE), node("c", "down", **MINE), node("d", **MINE))


def tried(swarm: Engine) -> list[str]:
    return [spec["Name"].rpartition("-")[2] for spec in swarm.created]


def test_before_the_last_node_that_serves_leaves_a_task_has_run_on_another() -> None:
    swarm = listing(*BOTH_LABELLED, running_on=("a",), key=KEY)
    try_move(swarm, "b", "c", "d")
    assert tried(swarm) == ["b"]


def test_the_last_node_that_serves_keeps_its_label_if_a_task_would_run_on_no_other() -> None:
    swarm = listing(*BOTH_LABELLED, running_on=("a",), key=KEY)
    swarm.service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "cache:crash"
    with pytest.raises(Refusal, match=r"^node a keeps its label, because node d can't take the cache over: a trial"):
        try_move(swarm, "b", "c", "d")
    assert tried(swarm) == ["b", "d"]


@pytest.mark.parametrize(
    "swarm",
    [
        pytest.param(listing(*BOTH_LABELLED, running_on=("a", "b"), key=KEY), id="it serves on the other too"),
        pytest.param(listing(*BOTH_LABELLED, running_on=("b",), key=KEY), id="it serves on the other"),
        pytest.param(listing(node("a", **MINE), node("b"), running_on=("a",), key=KEY), id="tried when labelled"),
        pytest.param(listing(node("b", **MINE), running_on=("b",), key=KEY), id="no node leaves"),
    ],
)
def test_no_other_node_is_tried_for_nothing(swarm: Engine) -> None:
    try_move(swarm, "b")
    assert tried(swarm) == []


def test_where_no_node_leaves_the_cache_nothing_more_is_asked_of_the_swarm() -> None:
    """A node that is down is no reason to refuse what keeps it."""
    swarm = listing(node("a", "down", **MINE), node("b", **MINE), running_on=("b",), key=KEY)
    assert check(swarm, "a", "b") == []
    assert [path for _, path, _, _ in swarm.asked] == ["/nodes"]


def test_a_node_that_somebody_has_labelled_is_named_with_the_command_that_removes_the_label() -> None:
    (warning,) = check(listing(node("a", **MINE), node("b", **{KEY: "true"}), node("c", **{KEY: "no"})), "a")
    assert warning == (
        f"msr-cache:caches.asia.label: node b, which is not in `nodes`, has the label {KEY}=true too, so the swarm may "
        "run the cache there. Name it in `nodes`, or, if nothing else needs the label: docker node update "
        f"--label-rm {KEY} b"
    )


def test_a_node_that_had_the_label_before_us_is_named_when_it_leaves_since_it_keeps_it() -> None:
    before = {**MINE, f"msr-cache.before.{KEY}": "true"}
    swarm = listing(node("a", **before), node("b", "down", **MINE), running_on=("a",), key=KEY)
    (warning,) = check(swarm, "b")
    assert warning.endswith(f"docker node update --label-rm {KEY} a")


def test_a_node_that_another_stack_has_labelled_is_named_with_that_stack_whose_label_stays() -> None:
    theirs = {**MINE, f"msr-cache.owner.{KEY}": "msr-cache/test/europe"}
    (warning,) = check(listing(node("a", **MINE), node("b", **theirs)), "a")
    assert warning.endswith(
        f"There it belongs to msr-cache stack msr-cache/test/europe (state {STATE_ID}): "
        "give this cache a label of its own"
    )
    assert "docker" not in warning


# The same names in another state

OF_OTHER_STATE = {**MINE, f"msr-cache.state.{KEY}": OTHER_STATE}


@pytest.mark.parametrize("state", [STATE_ID, None], ids=["our state has an id", "a first preview"])
def test_what_another_state_labelled_is_not_ours_to_lose_and_named(state: str | None) -> None:
    swarm = listing(node("a", **OF_OTHER_STATE), node("b", "down"), running_on=("a",), key=KEY, state=OTHER_STATE)
    (warning,) = check(swarm, "b", state=state)
    assert f"There it belongs to msr-cache stack {OURS} (state {OTHER_STATE}): give this cache a label" in warning
    labelled = listing(node("a", **OF_OTHER_STATE), node("b", **MINE), running_on=("a",), key=KEY, state=OTHER_STATE)
    try_move(labelled, "b", state=state)
    assert tried(labelled) == []


def test_the_service_of_another_state_is_not_ours_to_switch_off() -> None:
    swarm = listing(node("a", **MINE), node("b", "down"), running_on=("a",), key=KEY, state=OTHER_STATE)
    assert check(swarm, "b") == []


@pytest.mark.parametrize("state", [STATE_ID, None], ids=["our state has an id", "a first preview"])
@pytest.mark.parametrize("service_of", [STATE_ID, None], ids=["labelled by now", "not labelled yet"])
def test_what_an_earlier_version_labelled_is_ours_to_keep(state: str | None, service_of: str | None) -> None:
    swarm = listing(node("a", **OF_EARLIER), node("b", "down"), running_on=("a",), key=KEY, state=service_of)
    if state is None and service_of:
        assert check(swarm, "b", state=state) == []
    else:
        with pytest.raises(Refusal, match=STRANDED):
            check(swarm, "b", state=state)
