"""The swarm as an operator sees and changes it by hand, with docker's own client or, where much is read, its SDK."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from docker.errors import DockerException

from lab.process import wait_until
from lab.site import Site


@dataclass(frozen=True)
class Swarm:
    """`docker` on the site's manager."""

    site: Site

    def docker(self, *words: str, stdin: str | None = None) -> str:
        command = ["docker", f"--host={self.site.engine.docker_host}", *words]
        answer = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if "update out of sequence" in answer.stderr:  # the swarm itself wrote the object in between
            return self.docker(*words, stdin=stdin)
        assert answer.returncode == 0, f"docker {' '.join(words)}: {answer.stderr}"
        return answer.stdout.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker(*kind.split(), "inspect", name))[0]
        return found

    def names(self, kind: str) -> set[str]:
        with closing(self.site.engine.client()) as docker:
            return {each.name for each in getattr(docker, f"{kind}s").list()}

    def listing(self) -> dict[str, Any]:
        """Return all that a stack could leave behind: objects by name, and the labels of each node."""
        listing: dict[str, Any] = {kind: self.names(kind) for kind in ("service", "config", "secret")}
        return listing | {"labels": {node.name: self.labels(node.name) for node in self.site.engines}}

    def seen(self) -> Iterator[tuple[str, str]]:
        """Yield what anybody may read who may list the swarm's objects and read its logs, by where it stands."""
        with closing(self.site.engine.client()) as docker:
            configs = docker.configs.list()
            for each in (*docker.services.list(), *configs, *docker.secrets.list(), *docker.nodes.list()):
                yield f"{type(each).__name__} {each.id}", json.dumps(each.attrs)
            for config in configs:
                yield f"data of config {config.name}", base64.b64decode(config.attrs["Spec"]["Data"]).decode()
            for container in docker.containers.list(all=True, ignore_removed=True):
                yield f"container {container.id}", json.dumps(container.attrs)
                with suppress(DockerException):  # the swarm has just removed it
                    yield f"log of container {container.id}", container.logs().decode(errors="replace")

    def labels(self, node: str | None = None) -> dict[str, str]:
        """Return the labels of a node, by default of the manager."""
        found: dict[str, str] = self.inspect("node", node or self.site.engine.name)["Spec"]["Labels"]
        return found

    def task_ids(self, service: str) -> set[str]:
        """Return the ids of the tasks that run now."""
        return set(self.docker("service", "ps", service, "--quiet", "--filter", "desired-state=running").split())

    def container(self, service: str) -> str:
        """Return the id of the service's one container, waiting until it runs."""
        words = ("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={service}")
        wait_until(lambda: self.docker(*words), f"no container of {service}")
        return self.docker(*words)

    def wait_until_gone(self, stack: str) -> None:
        """Return when no container and no network of a `docker stack rm` is left."""
        label = ("--quiet", "--filter", f"label=com.docker.stack.namespace={stack}")
        wait_until(lambda: not self.docker("network", "ls", *label), f"the network of {stack} stays")
        wait_until(lambda: not self.docker("ps", "--all", *label), f"a container of {stack} stays")
