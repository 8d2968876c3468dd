"""Swarm configs and secrets on a real swarm: named after their content, never somebody else's, never left behind."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pulumi.output import Unknown
from pulumi.runtime import rpc

from lab.site import Site
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
from tests.end_to_end.swarm import Swarm
from tests.msr_cache.conftest import NOWHERE, STATE_ID, Refusing, configured, refusal, with_manager

ASIA = Owner("msr-cache", "unit", "asia", STATE_ID)
THEIRS = Owner("msr-cache", "unit", "europe", STATE_ID)
PROVIDERS: dict[str, type[SwarmFileProvider]] = {"config": ConfigProvider, "secret": SecretProvider}
on_a_swarm = pytest.mark.swarm


@pytest.fixture(params=["config", "secret"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give what docker calls the object."""
    return str(request.param)


@pytest.fixture
def provider(site: Site, by_hand: Swarm, kind: str) -> Iterator[SwarmFileProvider]:
    """Give a provider on the site's swarm; what these tests have made is removed at the end."""
    before = by_hand.listing()
    yield configured(PROVIDERS[kind](), site.engine.docker_host)
    for made in ("service", "config", "secret"):
        for name in by_hand.names(made) - before[made]:
            by_hand.docker(made, "rm", name)


def inputs(data: str, owner: Owner = ASIA) -> dict[str, Any]:
    return {"prefix": "asia_unit", "data": data, "labels": owner.labels("unit")}


def checked(provider: SwarmFileProvider, data: str, owner: Owner = ASIA) -> dict[str, Any]:
    result = provider.check({}, inputs(data, owner))
    assert result.failures == []
    props: dict[str, Any] = result.inputs
    return props


def without_objects(provider: SwarmFileProvider) -> SwarmFileProvider:
    """Return `provider` with a swarm that has no configs and secrets."""
    return with_manager(provider, Refusing(404))


def service(by_hand: Swarm, kind: str, name: str, owner: Owner) -> str:
    labels = [f"--label={key}={value}" for key, value in owner.labels("service").items()]
    options = ("--detach", "--replicas=0", "--name", f"unit-{owner.cache}", f"--{kind}={name}", *labels)
    return by_hand.docker("service", "create", *options, by_hand.site.cache_image)


# Names


@pytest.mark.parametrize("of", PROVIDERS.values())
def test_the_name_ends_in_a_hash_of_the_content(of: type[SwarmFileProvider]) -> None:
    # echo hello | sha256sum: 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    assert checked(without_objects(of()), "hello\n")["name"] == "asia_unit-5891b5b522"


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


@on_a_swarm
def test_the_swarm_takes_as_much_as_is_said_and_no_more(provider: SwarmFileProvider) -> None:
    largest = LARGEST[provider.kind]
    created = provider.create(checked(provider, "x" * (largest - 1)))
    provider.delete(created.id, created.outs)
    with pytest.raises(EngineError):
        provider.create({**inputs("x" * largest), "name": "asia_unit-too-large"})


# Life


@on_a_swarm
def test_an_object_is_created_with_its_content_and_labels(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    props = checked(provider, "é: content\n")
    created = provider.create(props)
    found = by_hand.inspect(kind, props["name"])
    assert (found["ID"], found["Spec"]["Labels"]) == (created.id, ASIA.labels("unit"))
    if kind == "config":  # a secret's data is shown to nobody
        assert base64.b64decode(found["Spec"]["Data"]).decode() == "é: content\n"
    assert created.outs == props


@on_a_swarm
def test_an_object_reads_back_without_a_change_and_is_seen_when_it_is_gone(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    props = checked(provider, "content")
    created = provider.create(props)
    read = provider.read(created.id, created.outs)
    assert (read.id, read.outs) == (created.id, created.outs)
    assert not provider.diff(created.id, read.outs, props).changes
    by_hand.docker(kind, "rm", props["name"])
    assert provider.read(created.id, created.outs).id is None


@on_a_swarm
def test_an_object_that_is_gone_is_deleted_without_an_error(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    created = provider.create(checked(provider, "content"))
    by_hand.docker(kind, "rm", created.outs["name"])
    provider.delete(created.id, created.outs)


@on_a_swarm
def test_changed_labels_reach_the_object_itself_even_in_a_run_that_was_killed_before(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
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


@on_a_swarm
def test_labels_of_what_has_become_somebody_elses_are_left(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    olds = checked(provider, "content", THEIRS)
    created = provider.create(olds)
    news = inputs("content") | {"name": olds["name"]}
    with pytest.raises(Refusal, match=f"{kind} {olds['name']} now belongs to msr-cache stack {THEIRS}"):
        provider.update(created.id, news, news)
    assert by_hand.inspect(kind, olds["name"])["Spec"]["Labels"] == olds["labels"]


@on_a_swarm
def test_a_deleted_object_is_gone(by_hand: Swarm, kind: str, provider: SwarmFileProvider) -> None:
    created = provider.create(checked(provider, "content"))
    provider.delete(created.id, created.outs)
    assert created.outs["name"] not in by_hand.names(kind)


def test_new_content_is_a_new_object_and_a_new_owner_is_none() -> None:
    provider = without_objects(ConfigProvider())
    old = checked(provider, "one")
    for changed, replaces in ((checked(provider, "two"), ["name"]), (checked(provider, "one", THEIRS), [])):
        diff = provider.diff("id", old, changed)
        assert (diff.changes, diff.replaces) == (True, replaces)


@on_a_swarm
@pytest.mark.parametrize("key", ["project", "stack", "state"])
def test_a_renamed_stack_and_a_new_state_id_change_the_labels_of_the_same_object(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider, key: str
) -> None:
    created = provider.create(checked(provider, "content"))
    new = provider.check(created.outs, inputs("content", replace(ASIA, **{key: "a00000000000"}))).inputs
    updated = provider.update(created.id, created.outs, new)
    assert by_hand.inspect(kind, new["name"])["ID"] == created.id
    assert by_hand.inspect(kind, new["name"])["Spec"]["Labels"] == new["labels"] == updated.outs["labels"]
    assert not provider.diff(created.id, updated.outs, new).changes


@pytest.mark.parametrize("status", [403, 500, 503])
@pytest.mark.parametrize("of", PROVIDERS.values())
def test_an_error_is_never_taken_for_gone(of: type[SwarmFileProvider], status: int) -> None:
    provider = with_manager(of(), Refusing(status))
    for act in (provider.read, provider.delete):
        with pytest.raises(EngineError) as caught:
            act("id", {**inputs("content"), "name": "asia_unit-1"})
        assert caught.value.status == status


def test_a_manager_that_cant_be_reached_is_never_taken_for_gone() -> None:
    with pytest.raises(Refusal, match="can't be reached"):
        configured(ConfigProvider(), NOWHERE).read("id", {**inputs("content"), "name": "asia_unit-1"})


# Owners


@on_a_swarm
def test_an_equal_object_that_an_interrupted_run_has_left_is_taken_up(provider: SwarmFileProvider) -> None:
    props = checked(provider, "content")
    left = provider.create(props)
    assert provider.create(dict(props)).id == left.id


@on_a_swarm
@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        ([], "an owner that its labels do not name"),
        (["--label=com.docker.stack.namespace=theirs"], "docker stack theirs"),
        ([f"--label=msr-cache.owner={THEIRS}"], f"msr-cache stack {THEIRS}"),
        ([f"--label=msr-cache.owner={ASIA}", "--label=msr-cache.state=f00000000000"], f"msr-cache stack {ASIA}"),
        ([f"--label=msr-cache.owner={ASIA}"], f"msr-cache stack {ASIA}"),
    ],
)
def test_somebody_elses_object_of_the_name_is_refused_in_previews_too_and_left(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider, labels: list[str], whose: str
) -> None:
    props = checked(provider, "content")
    by_hand.docker(kind, "create", *labels, props["name"], "-", stdin="theirs")
    before = by_hand.inspect(kind, props["name"])
    told = f"{kind} {props['name']} already exists and belongs to {whose}"
    assert refusal(provider, inputs("content")).startswith(told)
    with pytest.raises(Refusal, match=told):
        provider.create(props)
    assert by_hand.inspect(kind, props["name"]) == before


@on_a_swarm
def test_an_object_that_the_caches_own_service_has_gone_back_to_is_kept(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    """A rollback of the swarm mounts the former generation again."""
    created = provider.create(checked(provider, "content"))
    service(by_hand, kind, created.outs["name"], ASIA)
    provider.delete(created.id, created.outs)
    assert created.outs["name"] in by_hand.names(kind)


@on_a_swarm
def test_an_object_that_somebody_elses_service_mounts_is_told_as_in_use(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    created = provider.create(checked(provider, "content"))
    service(by_hand, kind, created.outs["name"], THEIRS)
    with pytest.raises(EngineError, match="in use by the following service: unit-europe"):
        provider.delete(created.id, created.outs)


@on_a_swarm
def test_unused_objects_are_the_caches_own_objects_that_no_service_mounts(
    by_hand: Swarm, kind: str, provider: SwarmFileProvider
) -> None:
    unused, used = (provider.create(checked(provider, data)) for data in ("unused", "used"))
    provider.create(checked(provider, "theirs", THEIRS))
    by_hand.docker(kind, "create", "nobodys", "-", stdin="x")
    service(by_hand, kind, used.outs["name"], ASIA)
    assert unused_objects(provider.manager, ASIA.labels("rollout")) == [(provider.kind, unused.id)]


def test_a_service_without_containers_mounts_nothing() -> None:
    """A service of a plugin or a network attachment has no ContainerSpec (Engine API, TaskSpec)."""
    assert mounted({"Spec": {"TaskTemplate": {"Runtime": "plugin"}}}, "configs") == set()
