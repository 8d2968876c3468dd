"""Errors for the operator: what is wrong, where (key path), what was found, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import UnionType
from typing import TYPE_CHECKING, Annotated, TypeGuard, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_CONTAINERS = (list, dict, tuple)
_OURS = {
    "input should be": "allowed is",
    "string should have": "allowed is",
    "string should match": "allowed is text by",
}
"""How pydantic begins to say what is allowed, and how we do."""


def lines(error: ValidationError, model: type[BaseModel], at: str) -> list[str]:
    """Return one line per mistake, each beginning with its key path below `at`."""
    return [_line(details, model, at) for details in error.errors(include_url=False)]


def _line(details: ErrorDetails, model: type[BaseModel], at: str) -> str:
    loc = [part for part in details["loc"] if part != "[key]"]
    path, owner, hidden = _follow(model, loc, at)
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_known_keys(owner, str(loc[-1]))}"
    if kind == "missing":
        return f"{path}: missing, and there is no default for it"
    if kind in {"value_error", "assertion_error"}:
        return f"{path}: {details['ctx']['error']}"
    if kind in {"model_type", "dict_type"}:
        # What stands in a map's place may be a secret that belongs inside.
        return f"{path}: found no map, allowed is a map"
    if kind == "too_short":
        return f"{path}: found none, allowed is at least {details['ctx']['min_length']}"
    message = details["msg"][:1].lower() + details["msg"][1:]
    for said, ours in _OURS.items():
        message = message.replace(said, ours)
    return f"{path}: {'' if hidden else found(details['input'])}{message}"


def _follow(model: type[BaseModel], loc: Iterable[int | str], at: str) -> tuple[str, object, bool]:
    """Return a location's key path, the annotation that holds its last part, and whether that is below a secret."""
    path, hidden = at, False
    owner: object = model
    place: object = model
    for part in loc:
        owner, place, hidden = place, inside(place, part), hidden or is_secret(place, part)
        if not _is_union(owner):
            path += f"[{part}]" if isinstance(part, int) else ("" if path.endswith(":") else ".") + part
    return path, owner, hidden


def inside(annotation: object, part: int | str) -> object:
    """Return what `part` of a location leads to: a model's field, a list's or map's values, a tagged union's branch."""
    plain = _plain(annotation)
    if get_origin(plain) in _CONTAINERS:
        return get_args(plain)[-1]
    if _is_union(plain):
        from pydantic import Tag

        return next((branch for branch in get_args(plain) if Tag(str(part)) in get_args(branch)), None)
    field = _fields(plain).get(str(part))
    return field.annotation if field else None


def is_secret(annotation: object, part: int | str) -> bool:
    """Whether `part` is a field that is marked Secret in the model that `annotation` means."""
    from msr_cache.config.field_types import Secret

    field = _fields(annotation).get(str(part))
    return field is not None and any(isinstance(mark, Secret) for mark in field.metadata)


def _plain(annotation: object) -> object:
    """Strip metadata and a union's other members where one alone has parts: they are not in a location."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    parted = [kind for kind in map(_plain, get_args(annotation)) if get_origin(kind) in _CONTAINERS or _is_model(kind)]
    return parted[0] if len(parted) == 1 else annotation


def _is_union(annotation: object) -> bool:
    return get_origin(_plain(annotation)) in (Union, UnionType)


def _fields(annotation: object) -> dict[str, FieldInfo]:
    """Return a model's fields as a location calls them."""
    model = _plain(annotation)
    return {field.alias or name: field for name, field in model.model_fields.items()} if _is_model(model) else {}


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    from pydantic import BaseModel

    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _known_keys(owner: object, key: str) -> str:
    known = sorted(_fields(owner))
    nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6) or [
        name for name in known if name.lower() == key.lower()
    ]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{hint} (allowed: {', '.join(known) or 'none'})"


def found(value: object) -> str:
    """Begin a message with `value` where that is short enough for a line; what has parts is not shown."""
    if not isinstance(value, str | int | float | bool | None):
        return ""
    shown = repr(value)
    return f"found {shown if len(shown) <= 80 else shown[:77] + '...'}, "  # noqa: PLR2004 - a line on a terminal
