"""A mistake's line: key path, what was found, what is allowed, and never a secret."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from msr_cache.config import errors
from msr_cache.config.field_types import Secret


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Leaf(Section):
    size: int = 0
    token: Annotated[str, Secret()] = ""
    headers: Annotated[dict[str, list[str]], Secret()] = {}
    renew_days: int = Field(0, alias="renewDays")


class Cat(Section):
    kind: str
    purrs: bool = False


class Dog(Section):
    kind: str
    barks: bool = False


Pet = Annotated[
    Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")],
    Discriminator(lambda pet: pet.get("kind")),
]


class Root(Section):
    leaf: Leaf = Leaf()
    maybe: Leaf | None = None
    either: Literal["fetch"] | Leaf = "fetch"
    many: list[Leaf] = []
    perhaps_many: Annotated[list[Leaf], Field(max_length=9)] | None = None
    named: dict[str, Leaf] = {}
    pets: list[Pet] = []
    text: Annotated[str, Field(min_length=1)] | None = None


def lines(given: dict[str, Any], at: str = "") -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Root.model_validate(given)
    return errors.lines(caught.value, Root, at)


WHERE = [
    ("leaf", lambda leaf: leaf),
    ("maybe", lambda leaf: leaf),
    ("many[0]", lambda leaf: [leaf]),
    ("perhaps_many[0]", lambda leaf: [leaf]),
    ("named.a", lambda leaf: {"a": leaf}),
]


@pytest.mark.parametrize(("path", "wrap"), WHERE)
def test_a_misspelt_key_is_named_with_the_nearest_one_at_any_depth(path: str, wrap: Any) -> None:
    name = path.partition("[")[0].partition(".")[0]
    (line,) = lines({name: wrap({"sise": 1})})
    assert line == f".{path}.sise: unknown key; did you mean size? (allowed: headers, renewDays, size, token)"


@pytest.mark.parametrize(("path", "wrap"), WHERE)
def test_a_secret_is_not_shown_at_any_depth(path: str, wrap: Any) -> None:
    name = path.partition("[")[0].partition(".")[0]
    found = lines({name: wrap({"token": 1337, "headers": {"Authorization": "hunter2", "Other": [1337]}})})
    assert [line.partition(":")[0] for line in found] == [
        f".{path}.token",
        f".{path}.headers.Authorization",
        f".{path}.headers.Other[0]",
    ]
    assert not [line for line in found if "hunter2" in line or "1337" in line]


def test_a_value_that_is_no_secret_is_shown() -> None:
    assert lines({"leaf": {"size": "big"}}) == [".leaf.size: found 'big', allowed is a valid integer"]


def test_text_in_a_maps_place_is_not_shown() -> None:
    assert lines({"leaf": "hunter2"}) == [".leaf: found no map, allowed is a map"]


def test_a_key_is_known_by_its_alias() -> None:
    (line,) = lines({"leaf": {"renew_days": 1}})
    assert line.startswith(".leaf.renew_days: unknown key; did you mean renewDays?")


def test_a_tagged_unions_branch_is_followed_and_is_no_part_of_the_path() -> None:
    assert lines({"pets": [{"kind": "cat"}, {"kind": "dog", "bark": True}, {"kind": "cat", "purrs": 1}]}) == [
        ".pets[1].bark: unknown key; did you mean barks? (allowed: barks, kind)",
        ".pets[2].purrs: found 1, allowed is a valid boolean",
    ]


def test_an_optional_value_has_its_own_path() -> None:
    assert lines({"text": 1}) == [".text: found 1, allowed is a valid string"]


def test_a_path_begins_where_it_is_told_to() -> None:
    assert lines({"leaf": {"size": "big"}}, "msr-cache:")[0].startswith("msr-cache:leaf.size: ")
