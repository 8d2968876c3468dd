"""Whose a swarm object is: told by labels that `docker stack` shows too."""

from __future__ import annotations

import pytest

from msr_cache.swarm.ownership import Owner, filters, is_same_owner, is_trial, owner_in

ASIA = Owner("msr-cache", "prod", "asia", STATE_ID)


def test_the_labels_make_the_cache_a_docker_stack_and_name_project_stack_and_part() -> None:
    assert ASIA.labels("config.yml") == {
        "com.docker.stack.namespace": "asia",
        "msr-cache.owner": "msr-cache/prod/asia",
        "msr-cache.resource": "config.yml",
    }


def test_the_parts_of_one_cache_have_one_owner() -> None:
    assert is_same_owner(ASIA.labels("service"), ASIA.labels("cache.key.pem"))


@pytest.mark.parametrize(
    "other",
    [
        Owner("other", "prod", "asia", STATE_ID),
        Owner("msr-cache", "test", "asia", STATE_ID),
        Owner("msr-cache", "prod", "europe", STATE_ID),
    ],
)
def test_another_project_stack_or_cache_is_another_owner(other: Owner) -> None:
    assert not is_same_owner(other.labels("service"), ASIA.labels("service"))
    assert owner_in(other.labels("service")) == f"msr-cache stack {other}"


def test_what_docker_stack_deployed_under_the_same_name_is_somebody_elses() -> None:
    theirs = {"com.docker.stack.namespace": "asia"}
    assert not is_same_owner(theirs, ASIA.labels("service"))
    assert owner_in(theirs) == "docker stack asia"


def test_what_carries_no_label_is_nobodys_and_never_ours() -> None:
    assert not is_same_owner({}, ASIA.labels("service"))
    assert not is_same_owner({}, {})
    assert owner_in({}) == "an owner that its labels do not name"


def test_a_listing_is_filtered_by_the_owner_and_not_by_the_part() -> None:
    assert filters(ASIA.labels("service")) == {"label": ["msr-cache.owner=msr-cache/prod/asia"]}
    assert [is_trial({"Spec": {"Labels": labels}}) for labels in (ASIA.labels("trial"), {})] == [True, False]
