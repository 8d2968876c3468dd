"""Errors for the operator: what is wrong, where (key path), what was found, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from msr_cache.field_types import Secret

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


class Refusal(Exception):  # noqa: N818 - the operator reads the word
    """What the program will not do, or could not; its text is all that an operator needs."""


def lines(error: ValidationError, model: type[BaseModel], at: str) -> list[str]:
    """Return one line per mistake, each beginning with its key path below `at`."""
    return [_line(details, model, at) for details in error.errors(include_url=False)]


def _line(details: ErrorDetails, model: type[BaseModel], at: str) -> str:
    loc = [part for part in details["loc"] if part != "[key]"]
    path = _join(at, loc)
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_known_keys(_model_at(model, loc[:-1]), str(loc[-1]))}"
    if kind == "missing":
        return f"{path}: missing, and there is no default for it"
    if kind in {"value_error", "assertion_error"}:
        return f"{path}: {details['ctx']['error']}"
    message = details["msg"][:1].lower() + details["msg"][1:]
    return f"{path}: {_found(details['input'], model, loc)}{message.replace('input should be', 'allowed is')}"


def _join(at: str, loc: Iterable[int | str]) -> str:
    path = at
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else ("" if path.endswith(":") else ".") + part
    return path


def _known_keys(model: type[BaseModel] | None, key: str) -> str:
    if model is None:
        return ""
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6) or [
        name for name in known if name.lower() == key.lower()
    ]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{hint} (allowed: {', '.join(known)})"


def _found(value: object, model: type[BaseModel], loc: list[int | str]) -> str:
    if not isinstance(value, str | int | float | bool | None) or _is_secret(model, loc):
        return ""
    shown = repr(value)
    return f"found {shown if len(shown) <= 80 else shown[:77] + '...'}, "  # noqa: PLR2004 - a line on a terminal


def _is_secret(model: type[BaseModel], loc: list[int | str]) -> bool:
    parent = _model_at(model, loc[:-1])
    field = parent.model_fields.get(str(loc[-1])) if parent and loc else None
    return field is not None and any(isinstance(mark, Secret) for mark in field.metadata)


def _model_at(model: type[BaseModel], loc: Iterable[int | str]) -> type[BaseModel] | None:
    """Follow a location through nested models; map keys, list indices and union tags lead to the same model."""
    here: type[BaseModel] | None = model
    pending: Any = None
    for part in loc:
        if here is None:
            return None
        if pending is None:
            field = next((f for n, f in here.model_fields.items() if part in (n, f.alias)), None)
            if field is None:
                continue
            pending = field.annotation
        found = _models_in(pending)
        if len(found) == 1 and not _is_container(pending):
            here, pending = found[0], None
        elif _is_container(pending):
            # The next part is an index or a map key: only after it are we at the model inside.
            pending = _inside(pending)
        else:
            here = None
    if pending is not None and here is not None:
        found = _models_in(pending)
        here = found[0] if len(found) == 1 else None
    return here


def _is_container(annotation: object) -> bool:
    return getattr(annotation, "__origin__", None) in (list, dict, tuple)


def _inside(annotation: object) -> object:
    return get_args(annotation)[-1]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
