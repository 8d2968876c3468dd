"""A swarm's nodes as `GET /nodes` lists them: which one a host name means, and whether it takes new tasks."""

from collections.abc import Iterable, Mapping
from typing import Any

from msr_cache.foreign import shown

Node = dict[str, Any]
Nodes = list[Node]


def hostname(node: Mapping[str, Any]) -> str:
    """Return its host name, as `docker node ls` shows it: empty until a node that joins has told it."""
    return shown(node["Description"].get("Hostname", ""))


def labels(node: Node) -> dict[str, str]:
    """Return its labels, which the API leaves out if there are none."""
    found: dict[str, str] = node["Spec"].get("Labels") or {}
    return found


def address(node: Node) -> str:
    """Return its IP address; a manager's status may be that of its loopback (moby issue 35437)."""
    advertised = (node.get("ManagerStatus") or {}).get("Addr", "").rpartition(":")[0]
    return str(advertised.strip("[]") or node["Status"].get("Addr") or hostname(node))


def listed(nodes: Iterable[Node]) -> str:
    """Return the nodes' host names, for an operator to read."""
    return ", ".join(sorted({hostname(node) for node in nodes}))


def _is_ready(node: Node) -> bool:
    return bool(node["Status"]["State"] == "ready")


def current(nodes: Nodes, name: str) -> Node | None:
    """Return the node with the host name; a node that left and joined again stays listed as down beside its new self.

    None if there is no such node, or no telling which one is meant.
    """
    named = [node for node in nodes if hostname(node) == name]
    found = [node for node in named if _is_ready(node)] or named
    return found[0] if len(found) == 1 else None


def problem(nodes: Nodes, name: str) -> str | None:
    """Return why the node with the host name takes no new tasks, and what to do; None if it does."""
    named = [node for node in nodes if hostname(node) == name]
    ready = [node for node in named if _is_ready(node)]
    if not named:
        return f"node {name} is not in the swarm, expected one of: {listed(nodes)}"
    if not ready:
        return f"node {name} is {named[0]['Status']['State']}: start it, or name another in `nodes`"
    if len(ready) > 1:
        return f"node {name} is the host name of {len(ready)} nodes: give each its own"
    if (availability := ready[0]["Spec"]["Availability"]) != "active":
        return (
            f"node {name} is set to {availability}, so the swarm runs no new task there: "
            f"docker node update --availability active {name}"
        )
    return None
