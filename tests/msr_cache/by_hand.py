"""The swarm as an operator sees and changes it, by docker's own client: in memory, or the lab's."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from docker import APIClient
from docker.errors import APIError

from msr_cache.swarm.connection import Connection
from msr_cache.swarm.manager import Manager

Object = dict[str, Any]
KINDS = ("service", "config", "secret")


@dataclass
class ByHand:
    """A swarm of one node, `host`; `image` runs there, `crash` does not."""

    manager: Manager
    host: str
    image: str
    crash: str
    api: APIClient

    def another_manager(self) -> Manager:
        """Return the same manager, for another thread."""
        another = copy(self.manager)
        if isinstance(another._connection, Connection):
            another._connection = Connection(another.address.host, another.address.cert_path)
        return another

    def inspect(self, kind: str, name: str) -> Object:
        found: Object = getattr(self.api, f"inspect_{kind}")(name)
        return found

    def names(self, kind: str) -> set[str]:
        return {each["Spec"]["Name"] for each in getattr(self.api, f"{kind}s")()}

    def create(self, kind: str, name: str, data: str, labels: dict[str, str]) -> str:
        return str(getattr(self.api, f"create_{kind}")(name, data.encode(), labels)["ID"])

    def remove(self, kind: str, name: str) -> None:
        getattr(self.api, f"remove_{kind}")(name)

    def service(self, name: str, labels: dict[str, str], replicas: int = 0, **more: Any) -> str:
        """Create one; `more`: fields of its container, `constraint`, and `networks` (ids)."""
        constraint = more.pop("constraint", "node.role == manager")
        networks = [{"Target": each} for each in more.pop("networks", ())]
        # As the cache's own: a task that has only just started does not count.
        health = {"Test": ["CMD-SHELL", "exit 0"], "Interval": 10**9}
        template = {
            "ContainerSpec": {"Image": self.image, "Command": ["/bin/sleep", "60"], "Healthcheck": health, **more},
            "Networks": networks,
            "Placement": {"Constraints": [constraint]},
            "RestartPolicy": {"Condition": "any", "Delay": 10**8},
        }
        mode = {"Replicated": {"Replicas": replicas}}
        return str(self.api.create_service(template, name=name, labels=labels, mode=mode)["ID"])

    def running(self, service: str) -> list[Object]:
        return [task for task in self.api.tasks({"service": service}) if task["DesiredState"] == "running"]

    def node(self) -> Object:
        (found,) = (each for each in self.api.nodes() if each["Description"]["Hostname"] == self.host)
        return dict(found)

    def labels(self) -> dict[str, str]:
        return dict(self.node()["Spec"].get("Labels") or {})

    def label(self, key: str, value: str | None) -> None:
        """Set or, with None, remove a label of the node."""
        self.change(
            {"Labels": {name: each for name, each in {**self.labels(), key: value}.items() if each is not None}}
        )

    def change(self, spec: Object) -> None:
        """Replace a part of the node's spec."""
        known = self.node()
        try:
            self.api.update_node(known["ID"], known["Version"]["Index"], {**known["Spec"], **spec})
        except APIError as error:
            if "update out of sequence" not in str(error):
                raise
            self.change(spec)  # the swarm itself wrote in between

    def clear(self, before: dict[str, set[str]]) -> None:
        for kind in KINDS:
            for name in self.names(kind) - before[kind]:
                self.remove(kind, name)
