"""Whose a swarm object is: told by labels that `docker stack` shows too."""

from __future__ import annotations

from typing import Any

import pytest

from msr_cache.swarm.ownership import (
    EXISTS,
    Owner,
    filters,
    is_same_owner,
    is_trial,
    of_node_label,
    owner_in,
    refuse_other_owner,
    service_filter,
)
from tests.msr_cache.conftest import STATE_ID, message

ASIA = Owner("msr-cache", "prod", "asia", STATE_ID)
LOST_STATE = Owner("msr-cache", "prod", "asia", "f00000000000")
EARLIER = {key: value for key, value in ASIA.labels("service").items() if key != "msr-cache.state"}
"""The labels that a version without state ids has made."""


def test_the_parts_of_one_cache_have_one_owner() -> None:
    assert is_same_owner(ASIA.labels("service"), ASIA.labels("cache.key.pem"))


@pytest.mark.parametrize(
    "other",
    [
        Owner("other", "prod", "asia", STATE_ID),
        Owner("msr-cache", "test", "asia", STATE_ID),
        Owner("msr-cache", "prod", "europe", STATE_ID),
        LOST_STATE,
    ],
)
def test_another_project_stack_cache_or_state_is_another_owner(other: Owner) -> None:
    assert not is_same_owner(other.labels("service"), ASIA.labels("service"))
    assert owner_in(other.labels("service")) == f"msr-cache stack {other} (state {other.state})"


def test_what_an_earlier_version_made_is_nobodys_unless_the_state_remembers_it() -> None:
    assert not is_same_owner(EARLIER, ASIA.labels("service"))
    assert owner_in(EARLIER) == "msr-cache stack msr-cache/prod/asia (no state id, from an earlier version)"
    refuse_other_owner("service asia_cache", EARLIER, ASIA.labels("service"), EXISTS, known=EARLIER)


def test_a_state_of_an_earlier_version_knows_what_has_been_labelled_since() -> None:
    assert is_same_owner(ASIA.labels("service"), EARLIER)


def test_what_docker_stack_deployed_under_the_same_name_is_somebody_elses() -> None:
    theirs = {"com.docker.stack.namespace": "asia"}
    assert not is_same_owner(theirs, ASIA.labels("service"))
    assert owner_in(theirs) == "docker stack asia"


def test_what_carries_no_label_is_nobodys_and_never_ours() -> None:
    assert not is_same_owner({}, ASIA.labels("service"))
    assert not is_same_owner({}, {})
    assert owner_in({}) == "an owner that its labels do not name"


def refused(theirs: Owner) -> str:
    return message(
        lambda: refuse_other_owner("service asia_cache", theirs.labels("service"), ASIA.labels("service"), EXISTS)
    )


def test_what_another_state_made_is_refused_with_the_setting_that_takes_it_over() -> None:
    assert refused(LOST_STATE) == (
        "service asia_cache already exists and belongs to msr-cache stack msr-cache/prod/asia (state f00000000000); "
        "left unchanged: use the backend that has this state, or give the cache another name. Only if the state is "
        "lost for good, take over what it made: pulumi config set msr-cache:stateId f00000000000"
    )


def test_what_another_stack_made_is_refused_without_it_and_without_advice_to_remove_it() -> None:
    told = refused(Owner("msr-cache", "test", "asia", "f00000000000"))
    assert told.endswith("left unchanged: give the cache another name")
    assert "remove" not in told


def test_a_listing_is_filtered_by_owner_and_state_and_not_by_the_part() -> None:
    ours = ["msr-cache.owner=msr-cache/prod/asia", f"msr-cache.state={STATE_ID}"]
    assert filters(ASIA.labels("service")) == {"label": ours}
    assert service_filter(ASIA.labels("trial")) == {"label": [*ours, "msr-cache.resource=service"]}
    assert [is_trial({"Spec": {"Labels": labels}}) for labels in (ASIA.labels("trial"), {})] == [True, False]


def test_the_owner_of_a_nodes_label_is_told_by_labels_that_end_in_its_key() -> None:
    node: dict[str, Any] = {"msr-cache.owner.dtr.cache": "a/b/c", "msr-cache.state.dtr.cache": STATE_ID, "rack": "1"}
    assert of_node_label(node, "dtr.cache") == {"msr-cache.owner": "a/b/c", "msr-cache.state": STATE_ID}
    assert of_node_label(node, "rack") == {}
