"""A node's label on a real swarm: set, seen when it drifts, put back; and every node that cannot run a cache named."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.runtime import rpc

from lab.site import Site
from msr_cache.refusal import Refusal
from msr_cache.resources import node_label
from msr_cache.resources.node_label import NodeLabelProvider
from msr_cache.rollout import convergence, trial
from msr_cache.swarm.manager import Address, EngineError, Manager
from msr_cache.swarm.nodes import Node
from tests.end_to_end.swarm import Swarm
from tests.msr_cache.conftest import (
    NOWHERE,
    STATE_ID,
    Listing,
    Refusing,
    configured,
    node,
    refusal,
    task,
    with_manager,
)

KEY = "unit.cache"
OURS = "msr-cache/prod/asia"
OTHER_STATE = "f00000000000"
OF_EARLIER = {KEY: "true", f"msr-cache.owner.{KEY}": OURS}
MINE = {**OF_EARLIER, f"msr-cache.state.{KEY}": STATE_ID}
on_a_swarm = pytest.mark.swarm


@pytest.fixture
def provider(site: Site, by_hand: Swarm) -> Iterator[NodeLabelProvider]:
    """Give a provider on the site's swarm; labels of these tests are removed at the end, whatever has happened."""
    kept = by_hand.labels()
    yield configured(NodeLabelProvider(), site.engine.docker_host)
    by_hand.docker("node", "update", "--availability", "active", site.engine.name)
    for key in by_hand.labels().keys() - kept.keys():
        by_hand.docker("node", "update", "--label-rm", key, site.engine.name)


def props(site: Site, **changes: Any) -> dict[str, Any]:
    return {"node": site.engine.name, "key": KEY, "value": "true", "owner": OURS, "state": STATE_ID, **changes}


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def label_by_hand(by_hand: Swarm, value: str | None) -> None:
    change = ("--label-rm", KEY) if value is None else ("--label-add", f"{KEY}={value}")
    by_hand.docker("node", "update", *change, by_hand.site.engine.name)


# Set and put back


@on_a_swarm
def test_the_label_is_set_and_nothing_else_of_the_node_changed(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    before = by_hand.node()["Spec"]
    created = provider.create(props(site))
    after = by_hand.node()["Spec"]
    assert after["Labels"][KEY] == "true"
    assert {**after, "Labels": {}} == {**before, "Labels": {}}
    assert created.id == f"{by_hand.node()['ID']}/{KEY}"
    assert created.outs == {**props(site), "nodeId": by_hand.node()["ID"]}


@on_a_swarm
def test_a_label_that_was_not_there_is_removed_with_all_that_remembers_it(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    before = by_hand.labels()
    created = provider.create(props(site))
    provider.delete(created.id, created.outs)
    assert by_hand.labels() == before


@on_a_swarm
def test_a_label_that_was_there_is_put_back_to_its_value(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    label_by_hand(by_hand, "spare")
    before = by_hand.labels()
    created = provider.create(props(site))
    assert by_hand.labels()[KEY] == "true"
    provider.delete(created.id, created.outs)
    assert by_hand.labels() == before
    assert by_hand.labels()[KEY] == "spare"


@on_a_swarm
def test_a_create_that_no_state_knows_of_does_not_forget_what_was_there_before(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    label_by_hand(by_hand, "spare")
    provider.create(props(site))  # the run was killed here
    created = provider.create(props(site))
    provider.delete(created.id, created.outs)
    assert by_hand.labels()[KEY] == "spare"


@on_a_swarm
def test_what_somebody_else_has_set_since_is_left(site: Site, by_hand: Swarm, provider: NodeLabelProvider) -> None:
    created = provider.create(props(site))
    label_by_hand(by_hand, "theirs")
    provider.delete(created.id, created.outs)
    assert {key: value for key, value in by_hand.labels().items() if KEY in key} == {KEY: "theirs"}


@on_a_swarm
def test_a_label_that_was_removed_by_hand_is_deleted_without_an_error(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    before = by_hand.labels()
    created = provider.create(props(site))
    label_by_hand(by_hand, None)
    provider.delete(created.id, created.outs)
    assert by_hand.labels() == before


@on_a_swarm
def test_the_label_of_a_node_that_is_gone_is_deleted_without_an_error(site: Site, provider: NodeLabelProvider) -> None:
    provider.delete(f"gone/{KEY}", {**props(site), "nodeId": "0123456789abcdefghijklmno"})


@on_a_swarm
def test_another_stacks_label_is_refused_in_previews_too_and_left(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    theirs = provider.create(props(site, owner="msr-cache/test/europe"))
    before = by_hand.labels()
    told = f"label {KEY} of node {site.engine.name} belongs to msr-cache stack msr-cache/test/europe (state {STATE_ID})"
    assert refusal(provider, props(site)) == (
        f"msr-cache:caches.asia.label: {told}; left unchanged: give this cache a label of its own"
    )
    with pytest.raises(Refusal, match=re.escape(told)):
        provider.create(props(site))
    provider.delete(theirs.id, {**theirs.outs, "owner": OURS})
    assert by_hand.labels() == before


@on_a_swarm
def test_another_states_label_is_refused_in_previews_too_and_left(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    theirs = provider.create(props(site, state=OTHER_STATE))
    before = by_hand.labels()
    told = f"belongs to msr-cache stack {OURS} (state {OTHER_STATE}); left unchanged"
    for state in (STATE_ID, rpc.UNKNOWN):
        assert told in refusal(provider, props(site, state=state))
    with pytest.raises(Refusal, match=re.escape(told)):
        provider.create(props(site))
    provider.delete(theirs.id, {**theirs.outs, "state": STATE_ID})
    assert by_hand.labels() == before


@on_a_swarm
@pytest.mark.parametrize(
    "former",
    [
        pytest.param({"state": OTHER_STATE}, id="the state's id was another"),
        pytest.param({"owner": "msr-cache/old/asia"}, id="the stack was renamed"),
        pytest.param({"state": None}, id="an earlier version knew no ids"),
    ],
)
def test_a_label_gets_its_states_new_owner_and_is_put_back_by_it(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider, former: dict[str, Any]
) -> None:
    label_by_hand(by_hand, "spare")
    before = by_hand.labels()
    created = provider.create(without_none(props(site, **former)))
    new = provider.check(without_none(props(site, **former)), props(site)).inputs
    diff = provider.diff(created.id, created.outs, new)
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update(created.id, created.outs, new)
    assert by_hand.labels()[f"msr-cache.owner.{KEY}"] == OURS
    assert by_hand.labels()[f"msr-cache.state.{KEY}"] == STATE_ID
    provider.delete(created.id, updated.outs)
    assert by_hand.labels() == before


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        pytest.param({"msr-cache.owner": OURS, "msr-cache.state": OTHER_STATE}, True, id="another state's"),
        pytest.param({}, True, id="somebody else's"),
        pytest.param({"msr-cache.owner": OURS, "msr-cache.state": STATE_ID}, False, id="ours"),
        pytest.param({"msr-cache.owner": OURS}, False, id="an earlier version's, which may be ours"),
    ],
)
def test_no_label_is_set_for_a_service_that_is_refused_later(labels: dict[str, str], refused: bool) -> None:
    manager = Busy()
    manager.service = {"ID": "s", "Spec": {"Labels": labels}}
    provider = with_manager(NodeLabelProvider(), manager)
    if refused:
        assert refusal(provider, LABEL).startswith("service asia_cache already exists and belongs to")
    else:
        assert provider.check({}, dict(LABEL)).failures == []


# Drift


@on_a_swarm
def test_a_label_as_it_should_be_reads_back_without_a_change(site: Site, provider: NodeLabelProvider) -> None:
    created = provider.create(props(site))
    read = provider.read(created.id, created.outs)
    assert (read.id, read.outs, read.inputs) == (created.id, created.outs, created.outs)
    assert not provider.diff(created.id, read.outs, props(site)).changes


@on_a_swarm
def test_a_removed_label_is_seen_as_gone(site: Site, by_hand: Swarm, provider: NodeLabelProvider) -> None:
    created = provider.create(props(site))
    label_by_hand(by_hand, None)
    assert provider.read(created.id, created.outs).id is None


@on_a_swarm
def test_a_changed_label_is_seen_and_an_update_repairs_it(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    created = provider.create(props(site))
    label_by_hand(by_hand, "false")
    read = provider.read(created.id, created.outs)
    assert read.outs["value"] == read.inputs["value"] == "false"
    diff = provider.diff(created.id, read.outs, props(site))
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update(created.id, read.outs, props(site))
    assert updated.outs == created.outs
    assert by_hand.labels()[KEY] == "true"


@on_a_swarm
def test_a_node_that_the_swarm_does_not_have_any_more_is_seen_as_gone(site: Site, provider: NodeLabelProvider) -> None:
    assert provider.read(f"gone/{KEY}", {**props(site), "nodeId": "0123456789abcdefghijklmno"}).id is None


@pytest.mark.parametrize("status", [403, 500, 503])
def test_an_error_is_never_taken_for_gone(status: int) -> None:
    """pulumi-docker's own resources do, and drop what they can't read from the state."""
    provider = with_manager(NodeLabelProvider(), Refusing(status))
    for act in (provider.read, provider.delete):
        with pytest.raises(EngineError) as caught:
            act("n/k", {"nodeId": "n", "key": KEY, "owner": OURS, "value": "true"})
        assert caught.value.status == status


def test_a_manager_that_cant_be_reached_is_never_taken_for_gone() -> None:
    with pytest.raises(Refusal, match="can't be reached"):
        configured(NodeLabelProvider(), NOWHERE).read("n/k", {"nodeId": "n", "key": KEY})


@pytest.mark.parametrize("key", ["node", "key", "nodeId"])
def test_another_node_or_key_is_another_label(key: str) -> None:
    old = {**LABEL, "nodeId": "n"}
    diff = NodeLabelProvider().diff("id", old, {**old, key: "other"})
    assert (diff.changes, diff.replaces) == (True, [key])


# Conflicts


@on_a_swarm
def test_the_swarm_refuses_an_update_of_what_was_changed_meanwhile_in_the_words_that_are_looked_for(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    stale = by_hand.node()
    provider.create(props(site))
    with pytest.raises(EngineError) as caught:
        provider.manager.update("nodes", stale, stale["Spec"])
    assert "update out of sequence" in caught.value.message


@on_a_swarm
def test_caches_that_label_one_node_at_the_same_time_all_succeed(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider
) -> None:
    keys = [f"{KEY}.{number}" for number in range(10)]
    start = threading.Barrier(2)
    errors: list[BaseException] = []

    def label(some: list[str]) -> None:
        start.wait()
        try:
            for key in some:
                provider.create(props(site, key=key))
        except BaseException as error:  # noqa: BLE001 - a thread's error would be printed and lost
            errors.append(error)

    threads = [threading.Thread(target=label, args=(some,)) for some in (keys[::2], keys[1::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {by_hand.labels()[key] for key in keys} == {"true"}


class Busy(Manager):
    """A manager of node a (id n), which somebody else changes before each of the first updates; of b (m), a service."""

    def __init__(self, conflicts: int = 0) -> None:
        super().__init__(Address(host=NOWHERE))
        self.conflicts = conflicts
        self.labels = {"rack": "0"}
        self.others: dict[str, str] = {}
        self.other = ("ready", "active")
        self.availability = "active"
        self.service: dict[str, Any] | None = None
        self.services: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []

    def get(self, path: str, **_: list[str]) -> Any:
        if path == "/services/asia_cache":
            if self.service is None:
                raise EngineError(NOWHERE, 404, "not found")
            return self.service
        if path in ("/services", "/tasks"):
            return self.services if path == "/services" else self.tasks
        this = node("a", "ready", self.availability, "n", **self.labels)
        return this if path == "/nodes/n" else [this, node("b", *self.other, "m", **self.others)]

    def update(self, _kind: str, _known: Any, spec: Any) -> None:
        if self.conflicts:
            self.conflicts -= 1
            self.labels["rack"] = str(self.conflicts)
            raise EngineError("m", 500, "rpc error: code = Unknown desc = update out of sequence")
        self.labels = spec["Labels"]


def test_a_conflict_is_tried_again_on_what_the_other_has_written() -> None:
    busy = Busy(conflicts=5)
    with_manager(NodeLabelProvider(), busy).create(dict(LABEL))
    assert (busy.labels[KEY], busy.labels["rack"]) == ("true", "0")


def test_a_node_that_others_never_stop_changing_is_given_up_in_one_line() -> None:
    provider = with_manager(NodeLabelProvider(), Busy(conflicts=1000))
    with pytest.raises(Refusal, match=f"other clients changed node n {node_label.ATTEMPTS} times"):
        provider.create(dict(LABEL))


# A move of a cache that serves


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say what is tried and waited for, in order."""
    told: list[str] = []
    monkeypatch.setattr(trial, "on_node", lambda *_: told.append("tried on the node"))
    monkeypatch.setattr(convergence, "wait_off", lambda *_: told.append("seen to run without the node"))
    return told


def serving(*nodes: str, key: str | None = KEY) -> Busy:
    """Return a manager of node n whose service runs where the label is, by now on `nodes`."""
    manager = Busy()
    placement = {"Constraints": [f"node.labels.{key} == true"]} if key else {}
    manager.services = [{"ID": "s", "Spec": {"TaskTemplate": {"Placement": placement}}}]
    manager.tasks = [{**task(f"on-{node}", "running"), "NodeID": node} for node in nodes]
    return manager


LABEL = {"node": "a", "key": KEY, "value": "true", "owner": OURS, "state": STATE_ID}


def test_a_cache_that_serves_elsewhere_is_tried_on_a_node_before_the_label_draws_it_there(told: list[str]) -> None:
    manager = serving("m")
    with_manager(NodeLabelProvider(), manager).create(LABEL)
    assert told == ["tried on the node"]
    assert manager.labels[KEY] == "true"


def test_a_node_where_the_cache_would_not_run_is_not_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        message = "would not run"
        raise Refusal(message)

    monkeypatch.setattr(trial, "on_node", refuse)
    manager = serving("m")
    with pytest.raises(Refusal, match="would not run"):
        with_manager(NodeLabelProvider(), manager).create(LABEL)
    assert manager.labels == {"rack": "0"}


@pytest.mark.parametrize(
    "manager",
    [
        pytest.param(Busy(), id="no service yet"),
        pytest.param(serving(), id="it serves nowhere: the label is what it waits for"),
        pytest.param(serving("n"), id="it serves there already"),
        pytest.param(serving("m", key="other"), id="it hangs on another label"),
        pytest.param(serving("m", key=None), id="somebody has let it run anywhere"),
    ],
)
def test_nothing_is_tried_where_nothing_moves(told: list[str], manager: Busy) -> None:
    with_manager(NodeLabelProvider(), manager).create(LABEL)
    assert told == []


def test_a_label_is_gone_when_the_cache_runs_without_its_node(told: list[str]) -> None:
    manager = serving("n")
    manager.labels |= MINE
    manager.others = {KEY: "true"}
    with_manager(NodeLabelProvider(), manager).delete("n/k", {**LABEL, "nodeId": "n"})
    assert manager.labels == {"rack": "0"}
    assert told == ["seen to run without the node"]


@pytest.mark.parametrize(
    ("manager", "before"),
    [
        pytest.param(Busy(), {}, id="the service is gone first"),
        pytest.param(serving("n", key="other"), {}, id="it hangs on another label by now"),
        pytest.param(serving("n"), {f"msr-cache.before.{KEY}": "true"}, id="the label was there before us"),
        pytest.param(serving("n"), {}, id="its last node: a killed run made the service, and no state knows of it"),
    ],
)
def test_a_cache_that_need_not_move_is_not_waited_for(told: list[str], manager: Busy, before: dict[str, str]) -> None:
    manager.labels |= {**MINE, **before}
    manager.others = {KEY: "true"} if before else {}
    with_manager(NodeLabelProvider(), manager).delete("n/k", {**LABEL, "nodeId": "n"})
    assert told == []


def test_a_paused_node_keeps_its_label_and_is_told_since_the_swarm_would_move_nothing_off_it() -> None:
    """swarmkit, constraint enforcer: tasks of a paused node are left."""
    manager = serving("n")
    manager.labels |= MINE
    manager.availability = "pause"
    with pytest.raises(Refusal, match=r"node a is set to pause, .*: docker node update --availability active a$"):
        with_manager(NodeLabelProvider(), manager).delete("n/k", {**LABEL, "nodeId": "n"})
    assert manager.labels[KEY] == "true"


UNUSABLE = {
    "down": ("down", "active", "node b is down: start it, or name another in `nodes`"),
    "drained": ("ready", "drain", "node b is set to drain, .*: docker node update --availability active b"),
    "paused": ("ready", "pause", "node b is set to pause, .*: docker node update --availability active b"),
}
STRANDED = (
    "^msr-cache:caches.asia.nodes: found b, expected a node that can take the cache over from a, the last that it "
    "runs on. Until there is one, keep a in `nodes`:\n  "
)


@pytest.mark.parametrize("other", UNUSABLE)
def test_the_last_node_that_serves_keeps_its_label_while_no_other_takes_tasks(told: list[str], other: str) -> None:
    state, availability, why = UNUSABLE[other]
    manager = serving("n")
    manager.labels |= MINE
    manager.others, manager.other = {KEY: "true"}, (state, availability)
    with pytest.raises(Refusal, match=f"{STRANDED}{why}$"):
        with_manager(NodeLabelProvider(), manager).delete("n/k", {**LABEL, "nodeId": "n"})
    assert manager.labels[KEY] == "true"
    assert told == []


def test_a_cache_that_serves_on_a_paused_node_too_may_lose_the_other(told: list[str]) -> None:
    manager = serving("n", "m")
    manager.labels |= MINE
    manager.others, manager.other = {KEY: "true"}, ("ready", "pause")
    with_manager(NodeLabelProvider(), manager).delete("n/k", {**LABEL, "nodeId": "n"})
    assert told == ["seen to run without the node"]


# The check of all nodes of a cache, before anything is declared


def check(manager: Listing, *names: str, state: str | None = STATE_ID) -> list[str]:
    return node_label.check_nodes(manager, manager.lists["/nodes"], list(names), {**LABEL, "state": state})


def try_move(manager: Listing, *names: str, state: str | None = STATE_ID) -> None:
    node_label.try_move(manager, manager.lists["/nodes"], list(names), {**LABEL, "state": state})


@pytest.mark.parametrize("other", UNUSABLE)
def test_a_move_off_the_last_node_that_serves_is_refused_while_no_other_takes_tasks(other: str) -> None:
    state, availability, why = UNUSABLE[other]
    swarm = Listing(node("a", **MINE), node("b", state, availability, **MINE), running_on=("a",), key=KEY)
    with pytest.raises(Refusal, match=f"{STRANDED}{why}$"):
        check(swarm, "b")


def test_a_move_off_a_paused_node_is_refused_since_the_swarm_would_move_nothing_off_it() -> None:
    swarm = Listing(node("a", "ready", "pause", **MINE), node("b"), running_on=("a",), key=KEY)
    with pytest.raises(
        Refusal, match=r"nodes: node a is set to pause, .*: docker node update --availability active a$"
    ):
        check(swarm, "b")


@pytest.mark.parametrize(
    ("swarm", "names"),
    [
        pytest.param(Listing(node("a", **MINE), node("b"), running_on=("a",), key=KEY), "b", id="the other takes it"),
        pytest.param(
            Listing(node("a", **MINE), node("b", "down"), node("c"), running_on=("a",), key=KEY), "bc", id="one does"
        ),
        pytest.param(Listing(node("a", **MINE), node("b", "down", **MINE)), "b", id="the cache serves nowhere"),
        pytest.param(
            Listing(node("a", "down", **MINE), node("b", "down", **MINE), running_on=("c",), key=KEY),
            "b",
            id="it serves elsewhere",
        ),
        pytest.param(
            Listing(node("a", **MINE), node("b", "down"), running_on=("a",), key="other"), "b", id="by another label"
        ),
        pytest.param(
            Listing(node("a", **MINE), node("b", "ready", "pause", **MINE), running_on=("a", "b"), key=KEY),
            "b",
            id="it serves on a paused node too",
        ),
    ],
)
def test_a_move_that_switches_nothing_off_passes_without_a_word(swarm: Listing, names: str) -> None:
    assert check(swarm, *names) == []


BOTH_LABELLED = (node("a", **MINE), node("b", **MINE), node("c", "down", **MINE), node("d", **MINE))


@pytest.mark.parametrize("fail", [set(), {"b"}])
def test_before_the_last_node_that_serves_leaves_a_task_has_run_on_another(
    monkeypatch: pytest.MonkeyPatch, fail: set[str]
) -> None:
    tried: list[str] = []

    def try_on(_manager: Manager, _service: object, node: Node, _outcome: str) -> None:
        tried.append(node["Description"]["Hostname"])
        if tried[-1] in fail:
            raise Refusal("would not run")

    monkeypatch.setattr(trial, "on_node", try_on)
    try_move(Listing(*BOTH_LABELLED, running_on=("a",), key=KEY), "b", "c", "d")
    assert tried == ["b", "d"] if fail else ["b"]


def test_the_last_node_that_serves_keeps_its_label_if_a_task_would_run_on_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_manager: Manager, _service: object, _node: Node, outcome: str) -> None:
        raise Refusal(outcome)

    monkeypatch.setattr(trial, "on_node", refuse)
    with pytest.raises(Refusal, match=r"^node a keeps its label, because node d can't take the cache over$"):
        try_move(Listing(*BOTH_LABELLED, running_on=("a",), key=KEY), "b", "c", "d")


@pytest.mark.parametrize(
    "swarm",
    [
        pytest.param(Listing(*BOTH_LABELLED, running_on=("a", "b"), key=KEY), id="it serves on the other too"),
        pytest.param(Listing(*BOTH_LABELLED, running_on=("b",), key=KEY), id="it serves on the other"),
        pytest.param(Listing(node("a", **MINE), node("b"), running_on=("a",), key=KEY), id="tried when labelled"),
        pytest.param(Listing(node("b", **MINE), running_on=("b",), key=KEY), id="no node leaves"),
    ],
)
def test_no_other_node_is_tried_for_nothing(told: list[str], swarm: Listing) -> None:
    try_move(swarm, "b")
    assert told == []


def test_where_no_node_leaves_the_cache_nothing_more_is_asked_of_the_swarm() -> None:
    """A node that is down is no reason to refuse what keeps it."""
    swarm = Listing(node("a", "down", **MINE), node("b", **MINE), running_on=("b",), key=KEY)
    assert check(swarm, "a", "b") == []
    assert swarm.asked == []


def test_a_node_that_somebody_has_labelled_is_named_with_the_command_that_removes_the_label() -> None:
    (warning,) = check(Listing(node("a", **MINE), node("b", **{KEY: "true"}), node("c", **{KEY: "no"})), "a")
    assert warning == (
        f"msr-cache:caches.asia.label: node b, which is not in `nodes`, has the label {KEY}=true too, so the swarm may "
        "run the cache there. Name it in `nodes`, or, if nothing else needs the label: docker node update "
        f"--label-rm {KEY} b"
    )


def test_a_node_that_had_the_label_before_us_is_named_when_it_leaves_since_it_keeps_it() -> None:
    before = {**MINE, f"msr-cache.before.{KEY}": "true"}
    swarm = Listing(node("a", **before), node("b", "down", **MINE), running_on=("a",), key=KEY)
    (warning,) = check(swarm, "b")
    assert warning.endswith(f"docker node update --label-rm {KEY} a")


def test_a_node_that_another_stack_has_labelled_is_named_with_that_stack_whose_label_stays() -> None:
    theirs = {**MINE, f"msr-cache.owner.{KEY}": "msr-cache/test/europe"}
    (warning,) = check(Listing(node("a", **MINE), node("b", **theirs)), "a")
    assert warning.endswith(
        f"There it belongs to msr-cache stack msr-cache/test/europe (state {STATE_ID}): "
        "give this cache a label of its own"
    )
    assert "docker" not in warning


# The same names in another state

OF_OTHER_STATE = {**MINE, f"msr-cache.state.{KEY}": OTHER_STATE}


@pytest.mark.parametrize("state", [STATE_ID, None], ids=["our state has an id", "a first preview"])
def test_what_another_state_labelled_is_not_ours_to_lose_and_named(told: list[str], state: str | None) -> None:
    swarm = Listing(node("a", **OF_OTHER_STATE), node("b", "down"), running_on=("a",), key=KEY, state=OTHER_STATE)
    (warning,) = check(swarm, "b", state=state)
    assert f"There it belongs to msr-cache stack {OURS} (state {OTHER_STATE}): give this cache a label" in warning
    labelled = Listing(node("a", **OF_OTHER_STATE), node("b", **MINE), running_on=("a",), key=KEY, state=OTHER_STATE)
    try_move(labelled, "b", state=state)
    assert told == []


def test_the_service_of_another_state_is_not_ours_to_switch_off() -> None:
    swarm = Listing(node("a", **MINE), node("b", "down"), running_on=("a",), key=KEY, state=OTHER_STATE)
    assert check(swarm, "b") == []


@pytest.mark.parametrize("state", [STATE_ID, None], ids=["our state has an id", "a first preview"])
@pytest.mark.parametrize("service_of", [STATE_ID, None], ids=["labelled by now", "not labelled yet"])
def test_what_an_earlier_version_labelled_is_ours_to_keep(state: str | None, service_of: str | None) -> None:
    swarm = Listing(node("a", **OF_EARLIER), node("b", "down"), running_on=("a",), key=KEY, state=service_of)
    if state is None and service_of:
        assert check(swarm, "b", state=state) == []
    else:
        with pytest.raises(Refusal, match=STRANDED):
            check(swarm, "b", state=state)


def test_a_new_node_is_tried_though_an_earlier_version_made_the_service(told: list[str]) -> None:
    manager = serving("m")
    manager.services[0]["Spec"]["Labels"] = {"msr-cache.owner": OURS}
    with_manager(NodeLabelProvider(), manager).create(LABEL)
    assert told == ["tried on the node"]


# A node that left and joined again: a new id, the same host name

OLD_SELF = {**LABEL, "nodeId": "old"}


@pytest.mark.parametrize("gone", [False, True])
def test_the_label_of_a_node_that_joined_again_is_seen_as_gone(gone: bool) -> None:
    nodes = [node("a", id_="new"), *([] if gone else [node("a", "down", id_="old", **MINE)])]
    read = with_manager(NodeLabelProvider(), Listing(*nodes)).read("old/k", OLD_SELF)
    assert read.id is None


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([node("a", "down", id_="old", **MINE)], id="it is down"),
        pytest.param([node("a", id_="old", **MINE), node("a", "down", id_="older")], id="its old self is down"),
        pytest.param([node("a", id_="old", **MINE), node("a", id_="x")], id="another one has its host name"),
    ],
)
def test_the_label_of_a_node_that_did_not_is_there(nodes: list[Node]) -> None:
    read = with_manager(NodeLabelProvider(), Listing(*nodes)).read("old/k", OLD_SELF)
    assert (read.id, read.outs) == ("old/k", OLD_SELF)


def test_a_node_that_joined_again_is_labelled_by_a_plain_up_unless_it_takes_no_tasks() -> None:
    news = {**LABEL, "nodeId": "new"}
    manager = Listing(node("a", "down", id_="old", **MINE), node("a", id_="new"))
    provider = with_manager(NodeLabelProvider(), manager)
    assert provider.check(OLD_SELF, news).inputs == news
    assert provider.diff("old/k", OLD_SELF, news).replaces == ["nodeId"]
    manager.lists["/nodes"] = [node("a", "ready", "drain", id_="new")]
    assert "node a is set to drain" in refusal(provider, news, OLD_SELF)


@pytest.mark.parametrize("olds", [LABEL, OLD_SELF], ids=["as earlier versions left it", "as this version left it"])
@pytest.mark.parametrize("news", [LABEL, OLD_SELF], ids=["no node of that name now", "the same node"])
def test_a_label_whose_node_is_the_same_or_unknown_stays_and_asks_nothing_of_the_swarm(
    olds: dict[str, Any], news: dict[str, Any]
) -> None:
    provider = configured(NodeLabelProvider(), NOWHERE)
    checked = provider.check(olds, {"nodeId": None, **news}).inputs
    assert not provider.diff("old/k", OLD_SELF, checked).changes


# Nodes that cannot run a cache


@on_a_swarm
def test_a_missing_node_is_named_in_the_preview_with_those_that_are_there(
    site: Site, provider: NodeLabelProvider
) -> None:
    assert refusal(provider, props(site, node="worker-9")) == (
        f"msr-cache:caches.asia.nodes: node worker-9 is not in the swarm, expected one of: {site.engine.name}"
    )


@on_a_swarm
@pytest.mark.parametrize("availability", ["drain", "pause"])
def test_a_node_that_takes_no_tasks_is_named_with_the_command_that_repairs_it(
    site: Site, by_hand: Swarm, provider: NodeLabelProvider, availability: str
) -> None:
    by_hand.docker("node", "update", "--availability", availability, site.engine.name)
    told, _, command = refusal(provider, props(site)).partition(": docker ")
    why = f"node {site.engine.name} is set to {availability}, so the swarm runs no new task there"
    assert told == f"msr-cache:caches.asia.nodes: {why}"
    by_hand.docker(*command.split())
    assert provider.check({}, props(site)).failures == []


@pytest.mark.parametrize("state", ["down", "unknown", "disconnected"])
def test_a_node_that_is_down_is_named(state: str) -> None:
    with pytest.raises(
        Refusal, match=f"^msr-cache:caches.asia.nodes: node a is {state}: start it, or name another in `nodes`$"
    ):
        node_label.find(Listing(node("a", state), node("b")), LABEL)


def test_a_node_that_left_and_joined_again_is_found_by_its_new_self() -> None:
    assert node_label.find(Listing(node("a", "down", id_="old"), node("a", id_="new")), LABEL)["ID"] == "new"


def test_a_host_name_that_two_nodes_share_is_refused() -> None:
    with pytest.raises(Refusal, match="node a is the host name of 2 nodes"):
        node_label.find(Listing(node("a", id_="one"), node("a", id_="other")), LABEL)


def test_a_label_that_is_there_already_asks_nothing_of_the_swarm() -> None:
    """A preview that changes nothing must not wait for it."""
    same = dict(LABEL)
    provider = configured(NodeLabelProvider(), NOWHERE)
    assert provider.check(same, dict(same)).failures == []
    assert refusal(provider, same).startswith("msr-cache:swarm: the manager at unix:///nowhere")
