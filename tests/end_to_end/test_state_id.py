"""A cache belongs to one state: another with the same names never touches it, and a lost one is recovered by its id."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from msr_cache.swarm.manager import Address, Manager
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.stack import CACHE, NAME, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"


def objects(swarm: Swarm) -> dict[str, Any]:
    """Return all that the swarm says of the cache, and its node's labels."""
    secrets = [swarm.inspect("secret", name) for name in sorted(swarm.names("secret"))]
    return {"secrets": secrets, "service": swarm.inspect("service", SERVICE), "labels": swarm.labels()}


def state_id(swarm: Swarm) -> str:
    return str(swarm.inspect("service", SERVICE)["Spec"]["Labels"]["msr-cache.state"])


def test_a_second_state_with_the_same_names_is_refused_in_the_preview_and_the_first_ones_cache_left(
    stack: Stack, swarm: Swarm, tmp_path: Path
) -> None:
    stack.deploy()
    second = Stack(tmp_path / "second", stack.site, stack.plugins)
    before = objects(swarm)
    for run in (second.preview(), second.up()):
        assert not run.ok
        told = f"service {SERVICE} already exists and belongs to msr-cache stack msr-cache/it/{CACHE} (state "
        assert f"{told}{state_id(swarm)}); left unchanged" in run.text
        assert f"pulumi config set msr-cache:stateId {state_id(swarm)}" in run.text
    second.must(second.destroy())
    assert objects(swarm) == before
    assert stack.pull().blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))


def test_the_setting_of_its_id_recovers_the_caches_of_a_lost_state(stack: Stack, swarm: Swarm, tmp_path: Path) -> None:
    lost = Stack(tmp_path / "lost", stack.site, stack.plugins)
    lost.deploy()
    shutil.rmtree(lost.folder / "state")
    id_ = state_id(swarm)
    former = swarm.names("secret")
    assert not stack.up().ok
    *preview, up = commands("docs/recover.md", "The state is lost")
    assert f"service {SERVICE} exists, but the state does not know it" in typed(stack, preview).text
    assert {each["Spec"]["Name"] for each in objects(swarm)["secrets"]} <= former
    typed(stack, [up])
    assert state_id(swarm) == id_
    assert stack.pull().blobs
    assert len(swarm.names("secret")) == 4
    stack.configure()
    stack.must(stack.preview(refresh=True, expect_no_changes=True))


def test_a_stack_that_an_earlier_version_deployed_gets_an_id_and_restarts_no_task(stack: Stack, swarm: Swarm) -> None:
    stack.deploy()
    forget_id(stack)
    tasks = swarm.task_ids(SERVICE)
    run = stack.deploy()
    assert ("create", "pulumi-python:dynamic/msr:StateId", "state-id") in run.operations
    assert swarm.task_ids(SERVICE) == tasks
    found = objects(swarm)
    id_ = state_id(swarm)
    assert {each["Spec"]["Labels"]["msr-cache.state"] for each in found["secrets"]} == {id_}
    assert found["labels"]["msr-cache.state.dtr.cache"] == id_
    stack.must(stack.preview(refresh=True, expect_no_changes=True))

    forget_id(stack)
    state = stack.export()
    del state["deployment"]["resources"]
    stack.restore(state)
    here = {"prod": NAME, "worker-7": stack.site.engine.name}
    typed(stack, commands("docs/recover.md", "If the lost state's cache has no id"), here)
    assert stack.pull().blobs


def forget_id(stack: Stack) -> None:
    """Leave state and swarm as a version without state ids has left them."""
    state = stack.export()
    resources = state["deployment"]["resources"]
    urn = next(each["urn"] for each in resources if each["type"].endswith("msr:StateId"))
    state["deployment"]["resources"] = [without_id(each, urn) for each in resources if each["urn"] != urn]
    stack.restore(state)
    manager = Manager(Address(host=stack.site.engine.docker_host))
    for kind in ("services", "configs", "secrets", "nodes"):
        for found in manager.get(f"/{kind}"):
            labels = found["Spec"]["Labels"].items()
            kept = {key: value for key, value in labels if not key.startswith("msr-cache.state")}
            manager.update(kind, found, {**found["Spec"], "Labels": kept})


def without_id(value: Any, urn: str) -> Any:
    """Return a part of the state without the id, what depends on it, and the bridge's checksum of such edits."""
    if isinstance(value, dict):
        dropped = ("state", "msr-cache.state", "__pulumi_raw_state_delta")
        return {key: without_id(item, urn) for key, item in value.items() if key not in dropped}
    if isinstance(value, list):
        kept = (each for each in value if each != urn and "msr-cache.state" not in _values(each))
        return [without_id(each, urn) for each in kept]
    return value


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []
