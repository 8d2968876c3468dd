"""docs/reference.md says of each key what the models do: its name, its default, and what a fixed choice allows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from msr_cache.config.settings import Cache, LocalCa, Msr, Resources, Settings, SwarmAccess, Tls, Update, Volume
from tests.msr_cache.conftest import settings_with

REFERENCE = (Path(__file__).parents[3] / "docs/reference.md").read_text()
SECTIONS: dict[str, type[BaseModel]] = {
    "`msr-cache:msr`": Msr,
    "`msr-cache:swarm`": SwarmAccess,
    "`msr-cache:caches.<name>`": Cache,
    "`tls`": Tls,
    "`msr-cache:localCa`": LocalCa,
}
NESTED = (Resources, Update, Volume)
"""Their keys are rows of the table of the key that holds them."""
ELSEWHERE = {"see below", "self-signed", "port", "MSR's URL", settings_with().label_of("asia")}
"""Defaults that other settings decide."""

Row = dict[str, str]


def rows(section: str) -> dict[str, Row]:
    """Return the rows of a section's table by key; one row may be for two keys."""
    text = REFERENCE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, _, *body = table
    found = [dict(zip(head, cells, strict=True)) for cells in body]
    return {key: row for row in found for key in re.findall(r"`([\w.]+)`", row["Key"])}


def fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        key = f"{above}{field.alias or name}"
        if nested := {field.annotation, *get_args(field.annotation)}.intersection(NESTED):
            yield from fields(nested.pop(), f"{key}.")
        else:
            yield key, field


KEYS = [(section, key, field) for section, model in SECTIONS.items() for key, field in fields(model)]


def choices(annotation: Any) -> Iterator[str]:
    """Yield what the literals in a type allow."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inside in get_args(annotation):
            yield from choices(inside)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_table_has_the_keys_of_the_model_and_no_other(section: str) -> None:
    assert sorted(rows(section)) == sorted(key for at, key, _ in KEYS if at == section)


@pytest.mark.parametrize(("section", "key", "field"), KEYS, ids=[f"{at} {key}" for at, key, _ in KEYS])
def test_each_row_says_default_and_choices_of_the_model(section: str, key: str, field: FieldInfo) -> None:
    row = rows(section)[key]
    said = row.get("Default", "required" if field.is_required() else "none").replace("`", "").strip('"')
    if said not in ELSEWHERE:
        assert said == default(field)
    for choice in choices(field.annotation):
        assert f"`{choice}`" in row["Allowed values"]


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, bool) or field.alias == "registerInMsr":  # nothing given is `false`
        return str(bool(value)).lower()
    return "none" if value in (None, [], {}) else str(value)


def test_each_section_of_the_config_is_in_the_reference() -> None:
    for name, field in Settings.model_fields.items():
        assert f"`msr-cache:{field.alias or name}" in REFERENCE
