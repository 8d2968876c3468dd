"""Mistakes in a stack's config: key path, what was found, what is expected, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from msr_cache import foreign

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

MISSING = "missing; set it, because it has no default"
EMPTY = "must not be empty"
NO_ENTRY = "must have at least one entry"
_LONGEST_VALUE = 80
"""Characters of a value that a line shows."""
_LONGEST_LINE = 10_000
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a map",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge} or more",
    "int_type": "a whole number",
    "less_than_equal": "{le:g} or less",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a map",
    "string_type": "text",
}
"""What pydantic expects, by the type of its error."""


class Mistake(NamedTuple):
    """A mistake, and the path of its key in the stack's config."""

    path: Path
    text: str

    def line(self, project: str) -> str:
        """Return the line that the operator reads."""
        # A key, too, may hold what doesn't print. The names of all known keys are longer than a text from outside.
        return foreign.shown(f"{project}:{dotted(self.path)}: {self.text}", longest=_LONGEST_LINE)


def dotted(path: Path) -> str:
    """Return `path` as `pulumi config set --path` takes it."""
    keys = (f"[{part}]" if isinstance(part, int) else f'["{part}"]' if "." in part else f".{part}" for part in path)
    return "".join(keys).removeprefix(".")


def mistakes(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """Return what pydantic found wrong in a config that `model` describes."""
    return [_mistake(details, model) for details in error.errors()]


def _mistake(details: ErrorDetails, model: type[BaseModel]) -> Mistake:
    path, kind, context = details["loc"], details["type"], details.get("ctx", {})
    if path[-1] == "[key]" and kind != "extra_forbidden":
        path = path[:-1]  # pydantic's own mark of a key that is wrong itself
    if kind == "extra_forbidden":
        return Mistake(path, unknown_key(path[-1], _known_keys(model, path[:-1])))
    if kind == "value_error":
        return Mistake(path, str(context["error"]))
    plain = {"missing": MISSING, "too_short": NO_ENTRY, "string_too_short": EMPTY}.get(kind)
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else details["msg"]
    return Mistake(path, plain or mismatch(details["input"], expected))


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys of the map at `path`, which follows fields of models, and names in a map of models."""
    parts = iter(path)
    for part in parts:
        if isinstance(part, int):  # an item of a list of models
            continue
        annotation = next(field.annotation for field in model.model_fields.values() if field.alias == part)
        model = next(_models_in(annotation))
        if get_origin(annotation) is dict:
            next(parts)
    return [str(field.alias) for field in model.model_fields.values()]


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def unknown_key(key: object, known: Collection[str]) -> str:
    """Return the text for a key that is none of `known`, with the one that was probably meant."""
    lower = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(str(key).lower(), lower, n=1, cutoff=0.6)
    hint = f"; did you mean {lower[nearest[0]]}?" if nearest else ""
    return f"unknown key{hint} (known keys: {', '.join(sorted(known)) or 'none'})"


def exactly_one(found: Collection[str], names: Collection[str]) -> str:
    """Return the text for a map that sets none or several of `names`."""
    return f"found {' and '.join(found) or 'none'}; set exactly one of {', '.join(names)}"


def mismatch(value: object, expected: str, *, secret: bool = False) -> str:
    """Return the text for a value that is not what is expected.

    The text shows the type alone of what may hold a secret: a map, a list, what is in the place of one, and a key.
    """
    secret = secret or isinstance(value, dict | list) or "PRIVATE KEY" in str(value)
    if secret or expected.startswith(("a map", "a list")):
        return f"expected {expected}, found {_type(value)}"
    return f"found {quoted(value)}, expected {expected}"


def quoted(value: object) -> str:
    """Return `value` as a line shows it: as YAML writes it, not too long, and without what may be a user and password.

    These stand before an @, also in a URL that lacks its scheme; so does the name of an image with a digest.
    """
    text = re.sub(r"^(.([a-z]+://)?).*@(?!sha256:)", r"\1...@", repr(value))
    text = {"True": "true", "False": "false", "None": "null"}.get(text, text)
    return foreign.shown(text, longest=_LONGEST_VALUE)


def _type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "a map", list: "a list", str: "text", int: "a number", float: "a number"}
    return names.get(type(value), "another type")
