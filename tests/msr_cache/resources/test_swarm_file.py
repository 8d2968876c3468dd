"""Swarm configs and secrets on a real swarm: named after their content, never somebody else's, never left behind."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from pulumi.dynamic import CreateResult
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources.swarm_file import (
    LARGEST,
    ConfigProvider,
    SecretProvider,
    SwarmFileProvider,
    mounted,
    unused_objects,
)
from msr_cache.swarm.manager import EngineError
from msr_cache.swarm.ownership import Owner
from tests.msr_cache.by_hand import ByHand
from tests.msr_cache.conftest import STATE_ID, refusal, with_manager
from tests.msr_cache.engine import Engine

ASIA = Owner("msr-cache", "unit", "asia", STATE_ID)
THEIRS = Owner("msr-cache", "unit", "europe", STATE_ID)
PROVIDERS: dict[str, type[SwarmFileProvider]] = {"config": ConfigProvider, "secret": SecretProvider}


@pytest.fixture(params=["config", "secret"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give what docker calls the object."""
    return str(request.param)


@pytest.fixture
def provider(by_hand: ByHand, kind: str) -> SwarmFileProvider:
    return with_manager(PROVIDERS[kind](), by_hand.manager)


def inputs(data: str, owner: Owner = ASIA) -> dict[str, Any]:
    return {"prefix": "asia_unit", "data": data, "labels": owner.labels("unit")}


def checked(provider: SwarmFileProvider, data: str, owner: Owner = ASIA) -> dict[str, Any]:
    result = provider.check({}, inputs(data, owner))
    assert result.failures == []
    props: dict[str, Any] = result.inputs
    return props


def without_objects(provider: SwarmFileProvider) -> SwarmFileProvider:
    """Return `provider` with a swarm that has no configs and secrets."""
    return with_manager(provider, Engine().manager)


def service(
    by_hand: ByHand, provider: SwarmFileProvider, file: CreateResult, owner: Owner, part: str = "service"
) -> str:
    """Make one that mounts the file, and return its id."""
    singular = provider.kind[:-1].capitalize()
    target = {"Name": "file", "UID": "0", "GID": "0", "Mode": 0o444}
    mount = {f"{singular}ID": file.id, f"{singular}Name": file.outs["name"], "File": target}
    mounts: Any = {f"{singular}s": [mount]}
    return by_hand.service(f"unit-{owner.cache}-{part}", owner.labels(part), **mounts)


# Names


@pytest.mark.parametrize("of", PROVIDERS.values())
def test_the_name_ends_in_a_hash_of_the_content(of: type[SwarmFileProvider]) -> None:
    # echo hello | sha256sum: 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    assert checked(without_objects(of()), "hello\n")["name"] == "asia_unit-5891b5b522"


def test_the_name_tells_nobody_who_guesses_the_content_that_the_guess_is_right() -> None:
    provider = without_objects(SecretProvider())
    names = {provider.check({}, {**inputs("hunter2"), "salt": salt}).inputs["name"] for salt in (None, "a", "b")}
    assert len(names) == 3


@pytest.mark.parametrize("unknown", [Unknown(), rpc.UNKNOWN])
def test_the_name_of_what_is_not_known_yet_is_unknown_and_no_hash_of_nothing(unknown: object) -> None:
    assert ConfigProvider().check({}, {**inputs(""), "data": unknown}).inputs["name"] == rpc.UNKNOWN


@pytest.mark.parametrize(("of", "size"), [(ConfigProvider, 1000 * 1024), (SecretProvider, 500 * 1024)])
def test_what_is_empty_or_too_large_is_refused_in_the_preview(of: type[SwarmFileProvider], size: int) -> None:
    for data in ("", "x" * size, "é" * (size // 2)):
        assert refusal(of(), inputs(data)) == (
            f"msr-cache:caches.asia: found {len(data.encode())} bytes in unit, expected 1 to {size - 1}, "
            "the swarm's limit"
        )
    assert without_objects(of()).check({}, inputs("x" * (size - 1))).failures == []


def test_the_swarm_takes_as_much_as_is_said_and_no_more(provider: SwarmFileProvider) -> None:
    largest = LARGEST[provider.kind]
    created = provider.create(checked(provider, "x" * (largest - 1)))
    provider.delete(created.id, created.outs)
    with pytest.raises(EngineError):
        provider.create({**inputs("x" * largest), "name": "asia_unit-too-large"})


# Life


def test_an_object_is_created_with_its_content_and_labels(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    props = checked(provider, "é: content\n")
    created = provider.create(props)
    found = by_hand.inspect(kind, props["name"])
    assert (found["ID"], found["Spec"]["Labels"]) == (created.id, ASIA.labels("unit"))
    if kind == "config":  # a secret's data is shown to nobody
        assert base64.b64decode(found["Spec"]["Data"]).decode() == "é: content\n"
    assert created.outs == props


def test_an_object_reads_back_without_a_change_and_is_seen_when_it_is_gone(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    props = checked(provider, "content")
    created = provider.create(props)
    read = provider.read(created.id, created.outs)
    assert (read.id, read.outs) == (created.id, created.outs)
    assert not provider.diff(created.id, read.outs, props).changes
    by_hand.remove(kind, props["name"])
    assert provider.read(created.id, created.outs).id is None


def test_a_deleted_object_is_gone_and_one_that_is_gone_is_deleted_without_an_error(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    created = provider.create(checked(provider, "content"))
    for _ in range(2):
        provider.delete(created.id, created.outs)
        assert created.outs["name"] not in by_hand.names(kind)


def test_changed_labels_reach_the_object_itself_even_in_a_run_that_was_killed_before(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    olds = checked(provider, "content")
    created = provider.create(olds)
    news = {**olds, "labels": THEIRS.labels("unit")}
    for _ in range(2):
        assert provider.update(created.id, olds, news).outs == news
        found = by_hand.inspect(kind, olds["name"])
        assert (found["ID"], found["Spec"]["Labels"]) == (created.id, news["labels"])
    more = {**news, "labels": {**news["labels"], "team": "registry"}}
    assert provider.create(more).id == created.id
    assert by_hand.inspect(kind, olds["name"])["Spec"]["Labels"] == more["labels"]


def test_labels_of_what_has_become_somebody_elses_are_left(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    olds = checked(provider, "content", THEIRS)
    created = provider.create(olds)
    news = inputs("content") | {"name": olds["name"]}
    with pytest.raises(Refusal, match=f"{kind} {olds['name']} now belongs to msr-cache stack {THEIRS}"):
        provider.update(created.id, news, news)
    assert by_hand.inspect(kind, olds["name"])["Spec"]["Labels"] == olds["labels"]


def test_new_content_is_a_new_object_and_a_new_owner_is_none() -> None:
    provider = without_objects(ConfigProvider())
    old = checked(provider, "one")
    for changed, replaces in ((checked(provider, "two"), ["name"]), (checked(provider, "one", THEIRS), [])):
        diff = provider.diff("id", old, changed)
        assert (diff.changes, diff.replaces) == (None, replaces), "the engine compares"


@pytest.mark.parametrize("key", ["project", "stack", "state"])
def test_a_renamed_stack_and_a_new_state_id_change_the_labels_of_the_same_object(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider, key: str
) -> None:
    created = provider.create(checked(provider, "content"))
    new = provider.check(created.outs, inputs("content", replace(ASIA, **{key: "a00000000000"}))).inputs
    updated = provider.update(created.id, created.outs, new)
    assert by_hand.inspect(kind, new["name"])["ID"] == created.id
    assert by_hand.inspect(kind, new["name"])["Spec"]["Labels"] == new["labels"] == updated.outs["labels"]
    assert not provider.diff(created.id, updated.outs, new).changes


# Owners


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        ({}, "an owner that its labels do not name"),
        ({"com.docker.stack.namespace": "theirs"}, "docker stack theirs"),
        ({"msr-cache.owner": str(THEIRS)}, f"msr-cache stack {THEIRS}"),
        ({"msr-cache.owner": str(ASIA), "msr-cache.state": "f00000000000"}, f"msr-cache stack {ASIA}"),
        ({"msr-cache.owner": str(ASIA)}, f"msr-cache stack {ASIA}"),
    ],
)
def test_somebody_elses_object_of_the_name_is_refused_in_previews_too_and_left(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider, labels: dict[str, str], whose: str
) -> None:
    props = checked(provider, "content")
    by_hand.create(kind, props["name"], "theirs", labels)
    before = by_hand.inspect(kind, props["name"])
    told = f"{kind} {props['name']} already exists and belongs to {whose}"
    assert refusal(provider, inputs("content")).startswith(told)
    with pytest.raises(Refusal, match=told):
        provider.create(props)
    assert by_hand.inspect(kind, props["name"]) == before


def test_an_object_that_the_caches_own_service_has_gone_back_to_is_kept(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    """A rollback of the swarm mounts the former generation again."""
    created = provider.create(checked(provider, "content"))
    service(by_hand, provider, created, ASIA)
    provider.delete(created.id, created.outs)
    assert created.outs["name"] in by_hand.names(kind)


def test_an_object_that_somebody_elses_service_mounts_is_told_as_in_use(
    by_hand: ByHand, provider: SwarmFileProvider
) -> None:
    created = provider.create(checked(provider, "content"))
    service(by_hand, provider, created, THEIRS)
    with pytest.raises(EngineError, match="in use by the following service: unit-europe-service"):
        provider.delete(created.id, created.outs)


def test_unused_objects_are_the_caches_own_that_no_service_mounts_but_its_trials_which_come_first(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    """What a trial mounts can be removed only after it."""
    unused, used, lent = (provider.create(checked(provider, data)) for data in ("unused", "used", "lent"))
    provider.create(checked(provider, "theirs", THEIRS))
    by_hand.create(kind, "nobodys", "x", {})
    service(by_hand, provider, used, ASIA)
    service(by_hand, provider, lent, THEIRS)
    trial = service(by_hand, provider, unused, ASIA, "trial-0123456789ab")
    found = unused_objects(provider.manager, ASIA.labels("rollout"))
    assert found == [("services", trial), (provider.kind, unused.id)]


def test_what_the_docker_stack_of_the_caches_name_has_left_is_unused_only_where_that_is_adopted(
    by_hand: ByHand, kind: str, provider: SwarmFileProvider
) -> None:
    stack = {"com.docker.stack.namespace": "asia"}
    left = by_hand.create(kind, "left", "x", stack)
    by_hand.create(kind, "another-stacks", "x", {"com.docker.stack.namespace": "europe"})
    by_hand.create(kind, "another-states", "x", replace(ASIA, state="f00000000000").labels("config.yml"))
    mounted = provider.create(checked(provider, "mounted"))
    service(by_hand, provider, mounted, ASIA)
    labels = ASIA.labels("rollout")
    assert unused_objects(provider.manager, labels) == []
    assert unused_objects(provider.manager, labels, adopts=True) == [(provider.kind, left)]


def test_a_service_without_containers_mounts_nothing() -> None:
    """A service of a plugin or a network attachment has no ContainerSpec (Engine API, TaskSpec)."""
    assert mounted({"Spec": {"TaskTemplate": {"Runtime": "plugin"}}}, "configs") == set()
