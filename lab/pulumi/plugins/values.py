"""Property values as they cross the engine's wire: JSON, in which a value that is not known yet is UNKNOWN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from google.protobuf import json_format, struct_pb2

from lab.pulumi.protocol import proto

Props = dict[str, Any]


def to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Put values on the wire."""
    return json_format.ParseDict(values, struct_pb2.Struct())


def from_struct(struct: struct_pb2.Struct) -> Props:
    """Take values from the wire, which knows no integers: 1 is 1.0 there."""
    text = json_format.MessageToJson(struct)
    values: Props = json.loads(text, parse_float=lambda one: int(one[:-2]) if one.endswith(".0") else float(one))
    return values


Differences = dict[str, "proto.PropertyDiff.Kind.ValueType"]
"""What happens to the value at each path, such as `taskSpec.secrets[0].secretId`."""


def differences(old: Any, new: Any, path: str = "") -> Differences:  # noqa: ANN401 - JSON
    """Compare values; whether one that is unset is null or empty is nobody's change."""
    if old == new or not (old or new):
        return {}
    if isinstance(old, dict) and isinstance(new, dict):
        at = {key: f"{path}.{key}".lstrip(".") for key in [*old, *new]}
        return {k: v for key, where in at.items() for k, v in differences(old.get(key), new.get(key), where).items()}
    if isinstance(old, list) and isinstance(new, list):
        pairs = enumerate(zip_longest(old, new))
        return {k: v for index, pair in pairs for k, v in differences(*pair, f"{path}[{index}]").items()}
    kind = proto.PropertyDiff.DELETE if not new else proto.PropertyDiff.UPDATE if old else proto.PropertyDiff.ADD
    return {path: kind}
