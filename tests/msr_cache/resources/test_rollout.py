"""A rollout on a real swarm: green only when tasks of the new spec run, and when nothing of the old is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources.rollout import RolloutProvider
from msr_cache.swarm.ownership import Owner
from tests.msr_cache.by_hand import ByHand
from tests.msr_cache.conftest import NOWHERE, STATE_ID, configured, with_manager

ASIA = Owner("msr-cache", "unit", "asia", STATE_ID)
THEIRS = Owner("msr-cache", "unit", "europe", STATE_ID)
GONE = "0123456789abcdefghijklmno"
Service = Callable[..., str]


@pytest.fixture
def provider(by_hand: ByHand) -> RolloutProvider:
    return with_manager(RolloutProvider(), by_hand.manager)


@pytest.fixture
def service(by_hand: ByHand) -> Service:
    """Make a service and return its id; without `replicas` there is nothing to wait for."""

    def create(replicas: int = 0, owner: Owner = ASIA, part: str = "service", **more: Any) -> str:
        return by_hand.service(f"unit-{owner.cache}-{part}", owner.labels(part), replicas, **more)

    return create


def props(service_id: str, **changes: Any) -> dict[str, Any]:
    known = {"service": service_id, "specSha256": "0a" * 32, "replicas": 0, "nodes": ["worker-1"]}
    return {**known, "labels": ASIA.labels("rollout"), **changes}


def config(by_hand: ByHand, name: str, owner: Owner = ASIA) -> None:
    by_hand.create("config", name, "x", owner.labels("config.yml"))


# Seen through


def test_a_service_that_runs_is_seen_through_and_all_leftovers_of_its_own_are_cleared_away(
    by_hand: ByHand, provider: RolloutProvider, service: Service
) -> None:
    id_ = service(replicas=1)
    service(part="trial")
    config(by_hand, "unit-former")
    config(by_hand, "unit-theirs", THEIRS)
    created = provider.create(props(id_))
    assert (created.id, created.outs) == (id_, props(id_, finished=True))
    assert by_hand.running(id_)
    assert "unit-asia-trial" not in by_hand.names("service")
    assert by_hand.names("config") & {"unit-former", "unit-theirs"} == {"unit-theirs"}
    assert not provider.diff(id_, created.outs, props(id_)).changes


def test_a_service_that_crashes_is_told_with_the_last_words_of_its_log(
    by_hand: ByHand, provider: RolloutProvider, service: Service
) -> None:
    id_ = service(replicas=1, Image=by_hand.crash, Command=["/start.sh"])
    with pytest.raises(Refusal) as caught:
        provider.create(props(id_))
    told = str(caught.value)
    assert "service unit-asia-service does not run as asked: its tasks end as soon as they start" in told
    # lab/cache_image/start.sh
    assert "non-zero exit (3)" in told
    assert "    start.sh: giving up" in told
    assert provider.diff(id_, props(id_), props(id_)).changes


def test_a_service_that_was_removed_is_told_with_the_command_that_puts_it_back(provider: RolloutProvider) -> None:
    for act in (lambda: provider.create(props(GONE)), lambda: provider.update(GONE, props(GONE), props(GONE))):
        with pytest.raises(Refusal, match="was removed outside Pulumi: restore it with pulumi up --refresh"):
            act()


def test_a_service_that_an_interrupted_destroy_has_stopped_runs_again(
    by_hand: ByHand, provider: RolloutProvider, service: Service, warned: list[str]
) -> None:
    id_ = service(replicas=1)
    known = props(id_, replicas=1)
    provider.delete(id_, known)
    assert by_hand.api.tasks({"service": id_}) == []
    assert provider.diff(id_, known, known).changes
    assert warned == ["service asia_cache was stopped by a pulumi destroy that did not end: pulumi up starts it again"]
    provider.create(known)
    assert len(by_hand.running(id_)) == 1


def test_the_networks_of_an_adopted_docker_stack_go_with_the_service(
    by_hand: ByHand, provider: RolloutProvider, service: Service
) -> None:
    made = {}
    for name, stack in {"unit-its": "asia", "unit-shared": "asia", "unit-theirs": "europe"}.items():
        labels = {"com.docker.stack.namespace": stack}
        made[name] = by_hand.api.create_network(name, driver="overlay", labels=labels)["Id"]
    id_ = service(replicas=1, networks=[made["unit-its"], made["unit-shared"], made["unit-theirs"]])
    other = service(owner=THEIRS, networks=[made["unit-shared"]])
    provider.delete(id_, props(id_, adopts=True))
    left = {each["Name"] for each in by_hand.api.networks()} & made.keys()
    by_hand.api.remove_service(other)
    for name in left:
        by_hand.api.remove_network(made[name])
    assert left == {"unit-shared", "unit-theirs"}


# Whether there is something to do


def test_a_service_that_docker_stack_deploy_has_changed_again_is_told_with_the_command_that_changes_it_back(
    by_hand: ByHand, provider: RolloutProvider, warned: list[str]
) -> None:
    id_ = by_hand.service("asia_cache", {"com.docker.stack.namespace": "asia"})
    assert provider.diff(id_, props(id_), props(id_)).changes
    assert warned == ["service asia_cache was changed by docker stack deploy: pulumi up --refresh changes it back"]


def test_a_service_whose_node_has_lost_the_label_is_work_to_do_and_a_warning(
    by_hand: ByHand, provider: RolloutProvider, service: Service, warned: list[str]
) -> None:
    id_ = service(replicas=1, constraint="node.labels.unit.nowhere == true")
    known = props(id_, nodes=[by_hand.host])
    assert provider.diff(id_, known, known).changes
    told = f"label unit.nowhere of node {by_hand.host} is gone or has another value: run pulumi up --refresh"
    assert warned == [told]


def test_a_service_of_which_too_few_tasks_run_is_work_to_do_and_a_warning(
    provider: RolloutProvider, service: Service, warned: list[str]
) -> None:
    id_ = service(replicas=1, constraint="node.role == worker")
    assert provider.diff(id_, props(id_), props(id_)).changes
    (told,) = warned
    assert told.startswith("service unit-asia-service: ")
    assert told.endswith(". docker service ps asia_cache shows more; if it stays so, run pulumi up --refresh")


def test_a_trial_that_a_killed_run_has_left_is_work_to_do(provider: RolloutProvider, service: Service) -> None:
    id_ = service()
    assert not provider.diff(id_, props(id_), props(id_)).changes
    service(part="trial-0123456789ab")
    assert provider.diff(id_, props(id_), props(id_)).changes


def test_leftovers_of_a_killed_run_are_work_to_do(by_hand: ByHand, provider: RolloutProvider, service: Service) -> None:
    id_ = service()
    config(by_hand, "unit-theirs", THEIRS)
    assert not provider.diff(id_, props(id_), props(id_)).changes
    config(by_hand, "unit-left")
    assert provider.diff(id_, props(id_), props(id_)).changes


def test_a_service_that_is_gone_is_work_to_do_and_a_warning(provider: RolloutProvider, warned: list[str]) -> None:
    assert provider.diff(GONE, props(GONE), props(GONE)).changes
    assert warned == ["service asia_cache is gone: run pulumi up --refresh"]


@pytest.mark.parametrize("changed", [{"service": "other"}, {"specSha256": "0b" * 32}, {"nodes": ["worker-2"]}])
def test_another_service_spec_or_node_is_work_to_do_which_no_swarm_need_confirm(changed: dict[str, Any]) -> None:
    diff = configured(RolloutProvider(), NOWHERE).diff("s", props("s"), props("s", **changed))
    assert diff.changes is None, "the engine compares"
    assert not diff.replaces


@pytest.mark.parametrize("unknown", [Unknown(), rpc.UNKNOWN])
def test_a_spec_that_a_preview_does_not_know_yet_is_a_change_and_no_replacement(unknown: object) -> None:
    diff = configured(RolloutProvider(), NOWHERE).diff("s", props("s"), props("s", specSha256=unknown))
    assert diff.changes is None, "the engine compares"
    assert not diff.replaces


@pytest.mark.parametrize("unknown", [Unknown(), rpc.UNKNOWN])
def test_a_service_whose_id_will_be_another_is_refused_before_it_is_replaced(unknown: object) -> None:
    with pytest.raises(Refusal, match=r"^the cache's service can't be replaced, .* pulumi state untaint after"):
        configured(RolloutProvider(), NOWHERE).diff("s", props("s"), props("s", service=unknown))


# Refresh and destroy


def test_a_rollout_is_there_as_long_as_its_service(
    by_hand: ByHand, provider: RolloutProvider, service: Service
) -> None:
    id_ = service()
    read = provider.read(id_, props(id_))
    assert (read.id, read.outs) == (id_, props(id_))
    by_hand.remove("service", id_)
    assert provider.read(id_, props(id_)).id is None


def test_a_service_of_ours_is_let_go_and_no_trial_left_behind(
    by_hand: ByHand, provider: RolloutProvider, service: Service
) -> None:
    id_ = service()
    service(part="trial")
    provider.delete(id_, props(id_))
    assert by_hand.names("service") & {"unit-asia-service", "unit-asia-trial"} == {"unit-asia-service"}


def test_a_destroy_says_where_the_blobs_stay(provider: RolloutProvider, service: Service, told: list[str]) -> None:
    provider.delete(id_ := service(), props(id_, blobs="nfs.example.com:/msr-cache"))
    assert told == ["the cache's blobs stay in nfs.example.com:/msr-cache"]


def test_a_service_that_has_become_somebody_elses_is_left(provider: RolloutProvider, service: Service) -> None:
    id_ = service(owner=THEIRS)
    with pytest.raises(Refusal, match=f"the cache's service now belongs to msr-cache stack {THEIRS}"):
        provider.delete(id_, props(id_))


def test_destroying_what_was_removed_by_hand_says_what_to_do(provider: RolloutProvider) -> None:
    """pulumi-docker fails to delete a service that is gone, and does not say that a refresh would help."""
    with pytest.raises(Refusal, match="run this command again with --refresh"):
        provider.delete(GONE, props(GONE))
