"""A mistake's line: key path, what was found, what is expected, and never what may be a secret."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msr_cache.config import errors
from msr_cache.config.field_types import PemText


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Leaf(Section):
    size: int = Field(0, alias="size")
    key: PemText = Field("", alias="key")
    renew_days: int = Field(0, alias="renewDays")


class Root(Section):
    leaf: Leaf = Field(Leaf(), alias="leaf")
    maybe: Leaf | None = Field(None, alias="maybe")
    named: dict[str, Leaf] = Field({}, alias="named")


def lines(given: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Root.model_validate(given)
    return [each.line("msr-cache") for each in errors.mistakes(caught.value, Root)]


WHERE = [
    ("leaf", lambda leaf: leaf),
    ("maybe", lambda leaf: leaf),
    ("named.a", lambda leaf: {"a": leaf}),
    ("named.leaf", lambda leaf: {"leaf": leaf}),
    ("named.size", lambda leaf: {"size": leaf}),
]


@pytest.mark.parametrize(("path", "wrap"), WHERE)
def test_a_misspelt_key_is_named_with_the_nearest_one_at_any_depth(path: str, wrap: Any) -> None:
    (line,) = lines({path.partition(".")[0]: wrap({"sise": 1})})
    assert line == f"msr-cache:{path}.sise: unknown key; did you mean size? (known keys: key, renewDays, size)"


@pytest.mark.parametrize("raw", [{"[key]": 1}, {"leaf": {"[key]": 1}}, {"named": {"[key]": {"[key]": 1}}}])
def test_a_key_may_be_spelt_as_pydantic_marks_one(raw: dict[str, Any]) -> None:
    assert "[key]: unknown key" in lines(raw)[-1]


def test_a_key_forges_no_line() -> None:
    (line,) = lines({"a\nmsr-cache:b\x1b[2K": 1})
    assert line.startswith("msr-cache:a\\nmsr-cache:b\\x1b[2K: unknown key")


@pytest.mark.parametrize(("path", "wrap"), WHERE)
def test_a_secret_is_not_shown_at_any_depth(path: str, wrap: Any) -> None:
    (line,) = lines({path.partition(".")[0]: wrap({"key": 1337})})
    assert line == f"msr-cache:{path}.key: expected PEM text or the path of a file, found a number"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://ops:pw@host/a", "https://...@host/a"),
        ("ops:p/w@host", "...@host"),
        ("cache:1@sha256:0a", "cache:1@sha256:0a"),
        ("cache.example.com", "cache.example.com"),
    ],
)
def test_user_and_password_of_a_url_are_not_shown(value: str, shown: str) -> None:
    assert lines({"leaf": {"size": value}}) == [f"msr-cache:leaf.size: found '{shown}', expected a whole number"]


def test_a_value_that_is_no_secret_is_shown() -> None:
    assert lines({"leaf": {"size": "big"}}) == ["msr-cache:leaf.size: found 'big', expected a whole number"]
    (line,) = lines({"leaf": {"size": "x" * 99}})
    assert line == f"msr-cache:leaf.size: found '{'x' * 76}..., expected a whole number"


@pytest.mark.parametrize(
    ("value", "kind"),
    [("hunter2", "text"), (["hunter2"], "a list"), (1, "a number"), (True, "true or false"), (None, "null")],
)
def test_what_is_in_the_place_of_a_map_is_named_by_its_type_alone(value: object, kind: str) -> None:
    assert lines({"leaf": value}) == [f"msr-cache:leaf: expected a map, found {kind}"]
