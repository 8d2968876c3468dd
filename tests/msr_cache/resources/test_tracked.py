"""Each provider class is serialized once in a run, as long as the SDK needs that."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pulumi.dynamic.dynamic import serialize_provider

from msr_cache.resources import tracked
from msr_cache.resources.http_secret import HttpSecretProvider
from msr_cache.resources.provider import SwarmProvider
from tests.msr_cache.conftest import declared


def test_a_provider_is_serialized_once_however_many_resources_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the SDK does it, it nests its pickler one deeper: a RecursionError from some hundred caches on."""
    kinds: list[type] = []

    def serialize(one: SwarmProvider) -> str:
        kinds.append(type(one))
        return "serialized"

    monkeypatch.setattr(tracked, "_serialized", {})
    monkeypatch.setattr(tracked, "serialize_provider", serialize)
    caches = {name: {"fqdn": "a.b", "nodes": [name], "label": name, "publishMode": "host"} for name in ("a", "b")}
    program = declared({"caches": caches})
    assert len(program.of("SwarmSecret")) == 8
    declared_kinds = {each.kind for each in program.resources if "__provider" in each.inputs}
    assert len(kinds) == len(set(kinds)) == len(declared_kinds)


def test_the_sdk_still_wraps_its_pickler_at_each_call_without_which_this_module_can_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pickler: Any = pickle._Pickler
    for name in ("_batch_setitems", "save_dict"):
        monkeypatch.setattr(pickler, name, getattr(pickler, name))
    before = pickler._batch_setitems
    serialize_provider(HttpSecretProvider())
    assert pickler._batch_setitems is not before
