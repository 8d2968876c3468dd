"""A node's label on a real swarm: set, seen when it drifts, put back; and every node that cannot run a cache named."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources import node_label
from msr_cache.resources.node_label import NodeLabelProvider
from msr_cache.swarm.manager import EngineError
from msr_cache.swarm.nodes import Node
from tests.msr_cache.by_hand import ByHand
from tests.msr_cache.conftest import (
    NOWHERE,
    STATE_ID,
    configured,
    listing,
    node,
    refusal,
    with_manager,
)
from tests.msr_cache.engine import Engine

KEY = "unit.cache"
OURS = "msr-cache/prod/asia"
OTHER_STATE = "f00000000000"
OF_EARLIER = {KEY: "true", f"msr-cache.owner.{KEY}": OURS}
MINE = {**OF_EARLIER, f"msr-cache.state.{KEY}": STATE_ID}


@pytest.fixture
def provider(by_hand: ByHand) -> NodeLabelProvider:
    return with_manager(NodeLabelProvider(), by_hand.manager)


def props(by_hand: ByHand, **changes: Any) -> dict[str, Any]:
    return {"node": by_hand.host, "key": KEY, "value": "true", "owner": OURS, "state": STATE_ID, **changes}


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


# Set and put back


def test_the_label_is_set_and_nothing_else_of_the_node_changed(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    before = by_hand.node()["Spec"]
    created = provider.create(props(by_hand))
    after = by_hand.node()["Spec"]
    assert after["Labels"][KEY] == "true"
    assert {**after, "Labels": {}} == {**before, "Labels": {}}
    assert created.id == f"{by_hand.node()['ID']}/{KEY}"
    assert created.outs == {**props(by_hand), "nodeId": by_hand.node()["ID"]}


@pytest.mark.parametrize("former", [None, "spare"])
def test_a_label_is_put_back_to_what_it_was_with_all_that_remembers_it(
    by_hand: ByHand, provider: NodeLabelProvider, former: str | None
) -> None:
    by_hand.label(KEY, former)
    before = by_hand.labels()
    created = provider.create(props(by_hand))
    assert by_hand.labels()[KEY] == "true"
    provider.delete(created.id, created.outs)
    assert by_hand.labels() == before


def test_a_create_that_no_state_knows_of_does_not_forget_what_was_there_before(
    by_hand: ByHand, provider: NodeLabelProvider
) -> None:
    by_hand.label(KEY, "spare")
    provider.create(props(by_hand))  # the run was killed here
    created = provider.create(props(by_hand))
    provider.delete(created.id, created.outs)
    assert by_hand.labels()[KEY] == "spare"


def test_what_somebody_else_has_set_since_is_left(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    created = provider.create(props(by_hand))
    by_hand.label(KEY, "theirs")
    provider.delete(created.id, created.outs)
    assert {key: value for key, value in by_hand.labels().items() if KEY in key} == {KEY: "theirs"}


def test_a_label_that_was_removed_by_hand_is_deleted_without_an_error(
    by_hand: ByHand, provider: NodeLabelProvider
) -> None:
    before = by_hand.labels()
    created = provider.create(props(by_hand))
    by_hand.label(KEY, None)
    provider.delete(created.id, created.outs)
    assert by_hand.labels() == before


def test_the_label_of_a_node_that_is_gone_is_deleted_without_an_error(
    by_hand: ByHand, provider: NodeLabelProvider
) -> None:
    provider.delete(f"gone/{KEY}", {**props(by_hand), "nodeId": "0123456789abcdefghijklmno"})


def test_another_stacks_label_is_refused_in_previews_too_and_left(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    theirs = provider.create(props(by_hand, owner="msr-cache/test/europe"))
    before = by_hand.labels()
    told = f"label {KEY} of node {by_hand.host} belongs to msr-cache stack msr-cache/test/europe (state {STATE_ID})"
    assert refusal(provider, props(by_hand)) == (
        f"msr-cache:caches.asia.label: {told}; left unchanged: give this cache a label of its own"
    )
    with pytest.raises(Refusal, match=re.escape(told)):
        provider.create(props(by_hand))
    provider.delete(theirs.id, {**theirs.outs, "owner": OURS})
    assert by_hand.labels() == before


def test_another_states_label_is_refused_in_previews_too_and_left(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    theirs = provider.create(props(by_hand, state=OTHER_STATE))
    before = by_hand.labels()
    told = f"belongs to msr-cache stack {OURS} (state {OTHER_STATE}); left unchanged"
    for state in (STATE_ID, rpc.UNKNOWN):
        assert told in refusal(provider, props(by_hand, state=state))
    with pytest.raises(Refusal, match=re.escape(told)):
        provider.create(props(by_hand))
    provider.delete(theirs.id, {**theirs.outs, "state": STATE_ID})
    assert by_hand.labels() == before


@pytest.mark.parametrize(
    "former",
    [
        pytest.param({"state": OTHER_STATE}, id="the state's id was another"),
        pytest.param({"owner": "msr-cache/old/asia"}, id="the stack was renamed"),
        pytest.param({"state": None}, id="an earlier version knew no ids"),
    ],
)
def test_a_label_gets_its_states_new_owner_and_is_put_back_by_it(
    by_hand: ByHand, provider: NodeLabelProvider, former: dict[str, Any]
) -> None:
    by_hand.label(KEY, "spare")
    before = by_hand.labels()
    created = provider.create(without_none(props(by_hand, **former)))
    new = provider.check(without_none(props(by_hand, **former)), props(by_hand)).inputs
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
        pytest.param({"msr-cache.owner": "msr-cache/former/asia", "msr-cache.state": STATE_ID}, False, id="renamed"),
        pytest.param({"msr-cache.owner": OURS}, False, id="an earlier version's, which may be ours"),
    ],
)
def test_no_label_is_set_for_a_service_that_is_refused_later(labels: dict[str, str], refused: bool) -> None:
    swarm = Engine(node("a"))
    swarm.add("services", {"Name": "asia_cache", "Labels": labels, "TaskTemplate": {}})
    provider = with_manager(NodeLabelProvider(), swarm.manager)
    if refused:
        assert refusal(provider, LABEL).startswith("service asia_cache already exists and belongs to")
    else:
        assert provider.check({}, dict(LABEL)).failures == []


# Drift


def test_a_label_as_it_should_be_reads_back_without_a_change(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    created = provider.create(props(by_hand))
    read = provider.read(created.id, created.outs)
    assert (read.id, read.outs, read.inputs) == (created.id, created.outs, created.outs)
    assert not provider.diff(created.id, read.outs, props(by_hand)).changes


def test_a_removed_label_is_seen_as_gone(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    created = provider.create(props(by_hand))
    by_hand.label(KEY, None)
    assert provider.read(created.id, created.outs).id is None


def test_a_changed_label_is_seen_and_an_update_repairs_it(by_hand: ByHand, provider: NodeLabelProvider) -> None:
    created = provider.create(props(by_hand))
    by_hand.label(KEY, "false")
    read = provider.read(created.id, created.outs)
    assert read.outs["value"] == read.inputs["value"] == "false"
    diff = provider.diff(created.id, read.outs, props(by_hand))
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update(created.id, read.outs, props(by_hand))
    assert updated.outs == created.outs
    assert by_hand.labels()[KEY] == "true"


@pytest.mark.parametrize("key", ["node", "key", "nodeId"])
def test_another_node_or_key_is_another_label(key: str) -> None:
    old = {**LABEL, "nodeId": "n"}
    diff = NodeLabelProvider().diff("id", old, {**old, key: "other"})
    assert (diff.changes, diff.replaces) == (True, [key])


# Conflicts


def test_the_swarm_refuses_an_update_of_what_was_changed_meanwhile_in_the_words_that_are_looked_for(
    by_hand: ByHand, provider: NodeLabelProvider
) -> None:
    stale = by_hand.node()
    provider.create(props(by_hand))
    with pytest.raises(EngineError) as caught:
        provider.manager.update("nodes", stale, stale["Spec"])
    assert "update out of sequence" in caught.value.message


def test_caches_that_label_one_node_at_the_same_time_all_succeed(by_hand: ByHand) -> None:
    keys = [f"{KEY}.{number}" for number in range(10)]
    start = threading.Barrier(2)
    errors: list[BaseException] = []

    def label(some: list[str]) -> None:
        provider = with_manager(NodeLabelProvider(), by_hand.another_manager())
        start.wait()
        try:
            for key in some:
                provider.create(props(by_hand, key=key))
        except BaseException as error:  # noqa: BLE001 - a thread's error would be printed and lost
            errors.append(error)

    threads = [threading.Thread(target=label, args=(some,)) for some in (keys[::2], keys[1::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {by_hand.labels()[key] for key in keys} == {"true"}


@pytest.mark.parametrize("conflicts", [1, 19])
def test_a_conflict_is_tried_again_on_what_the_other_has_written(conflicts: int) -> None:
    swarm = Engine(node("a", rack="?"))
    swarm.conflicts = conflicts
    with_manager(NodeLabelProvider(), swarm.manager).create(dict(LABEL))
    assert labels_of(swarm) == {**MINE, "rack": "0"}


def test_a_node_that_others_never_stop_changing_is_given_up_in_one_line() -> None:
    swarm = Engine(node("a", rack="?"))
    swarm.conflicts = 20
    with pytest.raises(Refusal, match="other clients changed node id-of-a 20 times"):
        with_manager(NodeLabelProvider(), swarm.manager).create(dict(LABEL))


# A move of a cache that serves

LABEL = {"node": "a", "key": KEY, "value": "true", "owner": OURS, "state": STATE_ID}
OF_NODE_A = {**LABEL, "nodeId": "id-of-a"}
TRIED = ["/services/create", "/nodes/id-of-a/update"]


def labels_of(swarm: Engine, name: str = "a") -> dict[str, str]:
    return dict(swarm.kinds["nodes"][f"id-of-{name}"]["Spec"]["Labels"])


def delete(swarm: Engine) -> None:
    with_manager(NodeLabelProvider(), swarm.manager).delete("n/k", OF_NODE_A)


def changes(swarm: Engine) -> list[str]:
    return [path for method, path, _, _ in swarm.asked if method == "POST"]


@pytest.mark.parametrize("state", [STATE_ID, None], ids=["this version made the service", "an earlier one did"])
def test_a_cache_that_serves_elsewhere_is_tried_on_a_node_before_the_label_draws_it_there(state: str | None) -> None:
    swarm = listing(node("a"), node("b", **MINE), running_on=("b",), key=KEY, state=state)
    with_manager(NodeLabelProvider(), swarm.manager).create(LABEL)
    assert changes(swarm) == TRIED
    assert swarm.created[0]["TaskTemplate"]["Placement"]["Constraints"] == ["node.id == id-of-a"]
    assert labels_of(swarm) == MINE


def test_a_node_where_the_cache_would_not_run_is_not_labelled() -> None:
    swarm = listing(node("a", rack="0"), node("b", **MINE), running_on=("b",), key=KEY)
    swarm.service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "cache:crash"
    with pytest.raises(Refusal, match="node a was not labelled: a trial task of service asia_cache did not run there"):
        with_manager(NodeLabelProvider(), swarm.manager).create(LABEL)
    assert labels_of(swarm) == {"rack": "0"}


@pytest.mark.parametrize(
    "swarm",
    [
        pytest.param(listing(node("a")), id="no service yet"),
        pytest.param(listing(node("a"), running_on=("a",), key=KEY), id="it serves there already"),
        pytest.param(listing(node("a"), running_on=("b",), key="other"), id="it hangs on another label"),
        pytest.param(listing(node("a"), running_on=("b",), key=None), id="somebody has let it run anywhere"),
    ],
)
def test_nothing_is_tried_where_nothing_moves(swarm: Engine) -> None:
    with_manager(NodeLabelProvider(), swarm.manager).create(LABEL)
    assert changes(swarm) == TRIED[1:]


def test_a_label_is_gone_when_the_cache_runs_without_its_node() -> None:
    one: Any = {"Mode": {"Replicated": {"Replicas": 1}}}
    swarm = listing(node("a", rack="0", **MINE), node("b", **MINE), running_on=("a",), key=KEY, **one)
    delete(swarm)
    assert labels_of(swarm) == {"rack": "0"}
    alive = [each for each in swarm.kinds["tasks"].values() if each["DesiredState"] == "running"]
    assert [each["NodeID"] for each in alive] == ["id-of-b"]
    assert ("GET", "/tasks") in [each[:2] for each in swarm.asked[-2:]]  # it was waited for


@pytest.mark.parametrize(
    "swarm",
    [
        pytest.param(listing(node("a", **MINE)), id="the service is gone first"),
        pytest.param(listing(node("a", **MINE), running_on=("a",), key="other"), id="it hangs on another label by now"),
        pytest.param(
            listing(
                node("a", **MINE, **{f"msr-cache.before.{KEY}": "true"}), node("b", **MINE), running_on=("a",), key=KEY
            ),
            id="the label was there before us",
        ),
    ],
)
def test_a_cache_that_need_not_move_is_not_waited_for(swarm: Engine) -> None:
    """It would be waited for in vain: its task stays where it is."""
    delete(swarm)
    assert set(labels_of(swarm)) <= {KEY}


def test_the_last_label_of_a_cache_that_stays_is_left_because_a_replacement_has_just_set_it_anew() -> None:
    swarm = listing(node("a", **MINE), node("b"), running_on=("a",), key=KEY)
    delete(swarm)
    assert labels_of(swarm) == MINE


def test_a_paused_node_keeps_its_label_and_is_told_since_the_swarm_would_move_nothing_off_it() -> None:
    """swarmkit, constraint enforcer: tasks of a paused node are left."""
    swarm = listing(node("a", "ready", "pause", **MINE), node("b", **MINE), running_on=("a",), key=KEY)
    with pytest.raises(Refusal, match=r"node a is set to pause, .*: docker node update --availability active a$"):
        delete(swarm)
    assert labels_of(swarm) == MINE


STRANDED = (
    "^msr-cache:caches.asia.nodes: found b, expected a node that can take the cache over from a, the last that it "
    "runs on. Until there is one, keep a in `nodes`:\n  node b is down: start it, or name another in `nodes`$"
)


def test_the_last_node_that_serves_keeps_its_label_while_no_other_takes_tasks() -> None:
    swarm = listing(node("a", **MINE), node("b", "down", **MINE), running_on=("a",), key=KEY)
    with pytest.raises(Refusal, match=STRANDED):
        delete(swarm)
    assert labels_of(swarm) == MINE


def test_a_cache_that_serves_on_a_paused_node_too_may_lose_the_other() -> None:
    one: Any = {"Mode": {"Replicated": {"Replicas": 1}}}
    swarm = listing(node("a", **MINE), node("b", "ready", "pause", **MINE), running_on=("a", "b"), key=KEY, **one)
    delete(swarm)
    assert labels_of(swarm) == {}


# A node that left and joined again: a new id, the same host name

OLD_SELF = {**LABEL, "nodeId": "old"}


@pytest.mark.parametrize("gone", [False, True])
def test_the_label_of_a_node_that_joined_again_is_seen_as_gone(gone: bool) -> None:
    nodes = [node("a", id_="new"), *([] if gone else [node("a", "down", id_="old", **MINE)])]
    read = with_manager(NodeLabelProvider(), listing(*nodes).manager).read("old/k", OLD_SELF)
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
    read = with_manager(NodeLabelProvider(), listing(*nodes).manager).read("old/k", OLD_SELF)
    assert (read.id, read.outs) == ("old/k", OLD_SELF)


def test_a_node_that_joined_again_is_labelled_by_a_plain_up_unless_it_takes_no_tasks() -> None:
    news = {**LABEL, "nodeId": "new"}
    swarm = listing(node("a", "down", id_="old", **MINE), node("a", id_="new"))
    provider = with_manager(NodeLabelProvider(), swarm.manager)
    assert provider.check(OLD_SELF, news).inputs == news
    assert provider.diff("old/k", OLD_SELF, news).replaces == ["nodeId"]
    swarm.kinds["nodes"]["new"]["Spec"]["Availability"] = "drain"
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


def test_a_missing_node_is_named_in_the_preview_with_those_that_are_there(
    by_hand: ByHand, provider: NodeLabelProvider
) -> None:
    assert refusal(provider, props(by_hand, node="worker-9")) == (
        f"msr-cache:caches.asia.nodes: node worker-9 is not in the swarm, expected one of: {by_hand.host}"
    )


@pytest.mark.parametrize("availability", ["drain", "pause"])
def test_a_node_that_takes_no_tasks_is_named_with_the_command_that_repairs_it(
    by_hand: ByHand, provider: NodeLabelProvider, availability: str
) -> None:
    by_hand.change({"Availability": availability})
    assert refusal(provider, props(by_hand)) == (
        f"msr-cache:caches.asia.nodes: node {by_hand.host} is set to {availability}, so the swarm runs no new task "
        f"there: docker node update --availability active {by_hand.host}"
    )
    by_hand.change({"Availability": "active"})
    assert provider.check({}, props(by_hand)).failures == []


@pytest.mark.parametrize("state", ["down", "unknown", "disconnected"])
def test_a_node_that_is_down_is_named(state: str) -> None:
    with pytest.raises(
        Refusal, match=f"^msr-cache:caches.asia.nodes: node a is {state}: start it, or name another in `nodes`$"
    ):
        node_label.find(listing(node("a", state), node("b")).manager, LABEL)


def test_a_host_name_that_two_nodes_share_is_refused() -> None:
    with pytest.raises(Refusal, match="node a is the host name of 2 nodes"):
        node_label.find(listing(node("a", id_="one"), node("a", id_="other")).manager, LABEL)
