"""Property values as they cross the engine's wire: JSON, in which a value that is not known yet is UNKNOWN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

Props = dict[str, Any]


def to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Put values on the wire."""
    return json_format.ParseDict(values, struct_pb2.Struct())


def from_struct(struct: struct_pb2.Struct) -> Props:
    """Take values from the wire, which knows no integers."""
    values: Props = _integral(json_format.MessageToDict(struct))
    return values


def _integral(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
