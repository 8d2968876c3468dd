"""The swarm as an operator sees and changes it by hand, with docker's own client."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from lab.site import Site


@dataclass(frozen=True)
class Swarm:
    """`docker` on the site's manager."""

    site: Site

    def docker(self, *words: str, stdin: str | None = None) -> str:
        command = ["docker", f"--host={self.site.docker_host}", *words]
        answer = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"docker {' '.join(words)}: {answer.stderr}"
        return answer.stdout.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker(kind, "inspect", name))[0]
        return found

    def names(self, kind: str) -> set[str]:
        return set(self.docker(kind, "ls", "--format", "{{.Name}}").split())

    def listing(self) -> dict[str, Any]:
        """Return all that a stack could leave behind: objects by name, and the labels of each node."""
        listing: dict[str, Any] = {kind: self.names(kind) for kind in ("service", "config", "secret")}
        return listing | {"labels": self.node()["Spec"]["Labels"]}

    def node(self) -> dict[str, Any]:
        return self.inspect("node", self.site.node_name)

    def task_ids(self, service: str) -> set[str]:
        """Return the ids of the tasks that run now."""
        return set(self.docker("service", "ps", service, "--quiet", "--filter", "desired-state=running").split())
