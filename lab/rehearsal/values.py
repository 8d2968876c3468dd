"""Property values as they cross the SDK's wire: JSON, with marks for what is secret and what is not known yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime import rpc

from lab.rehearsal.errors import EngineError

Props = dict[str, Any]
UNKNOWN: str = rpc.UNKNOWN
SIGNATURE = next(key for key in rpc.wrap_rpc_secret(None) if key != "value")
"""The key that marks a JSON object as something else than itself."""


def is_secret(value: object) -> bool:
    """Whether it is marked as secret itself."""
    return bool(rpc.is_rpc_secret(value))


def secret(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Mark a value as secret, once."""
    return rpc.wrap_rpc_secret(plain(value))


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the value without its marks of secrecy, at any depth."""
    if is_secret(value):
        return plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def bare(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the value without what is empty: whether an unset map comes back as null or {} is nobody's change."""
    if isinstance(value, dict):
        return {key: bare(item) for key, item in value.items() if item not in (None, {}, [])}
    return [bare(item) for item in value] if isinstance(value, list) else value


def is_unknown(value: object) -> bool:
    """Whether any part of it is not known yet."""
    if isinstance(value, dict):
        return any(map(is_unknown, value.values()))
    return any(map(is_unknown, value)) if isinstance(value, list) else value == UNKNOWN


def has_secret(value: object) -> bool:
    """Whether any part of it is secret."""
    if is_secret(value):
        return True
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(has_secret, parts))


def marked(values: Mapping[str, Any], like: Mapping[str, Any], also: Iterable[str] = ()) -> Props:
    """Mark as secret what is secret in `like` under the same name, as Pulumi does for providers that do not."""
    names = set(also)
    return {key: secret(item) if key in names else _marked(item, like.get(key)) for key, item in values.items()}


def _marked(value: Any, like: Any) -> Any:  # noqa: ANN401 - JSON
    if is_secret(like) or (isinstance(like, list) and any(map(is_secret, like))):
        return secret(value)
    if isinstance(value, dict) and isinstance(like, dict):
        return marked(value, like)
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [_marked(item, other) for item, other in zip(value, like, strict=True)]
    return value


def to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Put values on the wire."""
    return json_format.ParseDict(values, struct_pb2.Struct())


def from_struct(struct: struct_pb2.Struct) -> Props:
    """Take values from the wire; refuse kinds that are not implemented."""
    values: Props = _integral(json_format.MessageToDict(struct))
    _refuse_others(values)
    return values


def _integral(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The wire knows floats only."""
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _refuse_others(value: object) -> None:
    if isinstance(value, dict):
        if SIGNATURE in value and not is_secret(value):
            message = "assets, archives and resources as values are not implemented by the rehearsal engine"
            raise EngineError(message)
        for item in value.values():
            _refuse_others(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_others(item)
