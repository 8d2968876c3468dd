"""What the program reads of a manager's answers, by kind: an object that lacks it is none of the Docker Engine API's.

A `?` ends the name of a field that the engine leaves out if it is empty; a list or map may be null then (moby,
api/types/swarm).
"""

from collections.abc import Iterator
from typing import Any

_TEXTS = {"*": str}
_VERSION = {"Index": int}
_PORTS = [{"PublishedPort?": int, "PublishMode?": str}]
_FILE = {"ID": str, "Version": _VERSION, "Spec": {"Name": str, "Labels?": _TEXTS, "Data?": str}}
_CONTAINER = {
    "Image?": str,
    "Env?": [str],
    "Healthcheck?": {},
    "Configs?": [{"ConfigID": str}],
    "Secrets?": [{"SecretID": str}],
}
SHAPES: dict[str, dict[str, Any]] = {
    "nodes": {
        "ID": str,
        "Version": _VERSION,
        "Spec": {"Availability": str, "Labels?": _TEXTS},
        "Description": {"Hostname?": str},
        "Status": {"State": str, "Addr?": str},
        "ManagerStatus?": {"Addr?": str},
    },
    "services": {
        "ID": str,
        "Version": _VERSION,
        "Spec": {
            "Name": str,
            "Labels?": _TEXTS,
            "TaskTemplate": {"ContainerSpec?": _CONTAINER, "Placement?": {"Constraints?": [str]}},
            "Mode?": {"Replicated?": {"Replicas": int}},
            "EndpointSpec?": {"Ports?": _PORTS},
            "UpdateConfig?": {"Monitor?": int},
        },
        "Endpoint": {"Ports?": _PORTS},
        "UpdateStatus?": {"State?": str},
    },
    "tasks": {
        "ID": str,
        "NodeID?": str,
        "DesiredState": str,
        "Status": {"State": str, "Timestamp": str, "Err?": str, "ContainerStatus?": {"ExitCode?": int}},
    },
    "configs": _FILE,
    "secrets": _FILE,
    "networks": {"Id": str},
    "distribution": {"Descriptor": {"digest": str}, "Platforms?": [{"architecture": str, "os": str}]},
}


def odd_fields(found: Any, shape: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the path of each field of `found` that is missing or of another type than `shape` says."""
    if isinstance(shape, type):
        if type(found) is not shape:
            yield path
    elif not isinstance(found, type(shape)):
        yield path
    elif isinstance(shape, list):
        for number, each in enumerate(found):
            yield from odd_fields(each, shape[0], f"{path}[{number}]")
    elif "*" in shape:
        for each in found.values():
            yield from odd_fields(each, shape["*"], path)
    else:
        for key, inner in shape.items():
            name = key.removesuffix("?")
            value, empty = found.get(name), None if isinstance(inner, dict | list) else found
            if key == name or (name in found and value is not empty):
                yield from odd_fields(value, inner, f"{path}.{name}".lstrip("."))
