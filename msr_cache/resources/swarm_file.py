"""A swarm secret: a file for the cache's tasks. It is immutable, so new content is a new object.

pulumi-docker's own docker.Secret would not do: it takes any read error (a manager that hangs, a 403 from MKE) for
"gone" and drops the object from the state, fails to delete what is gone already, knows no owner, and can't adopt what
a killed run has created (kreuzwerker/terraform-provider-docker, resource_docker_secret.go).
"""

import base64
import hashlib
from typing import Any, ClassVar, Literal

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.swarm.manager import CONFLICT, EngineError, Manager
from msr_cache.swarm.ownership import (
    EXISTS,
    LOST,
    NAMESPACE,
    filters,
    is_of_stack,
    is_same_owner,
    is_trial,
    refuse_other_owner,
)

Kind = Literal["configs", "secrets"]
DIGITS = 10
"""Hexadecimal digits of the content's SHA-256 in an object's name."""
LARGEST: dict[str, int] = {"configs": 1000 * 1024, "secrets": 500 * 1024}
"""Bytes: swarmkit refuses this size and above (controlapi/config.go, api/validation/secrets.go)."""
_REFERENCES: dict[Kind, tuple[str, str]] = {"configs": ("Configs", "ConfigID"), "secrets": ("Secrets", "SecretID")}


def mounted(service: dict[str, Any], kind: Kind) -> set[str]:
    """Return the ids of the objects that a service's current spec mounts."""
    field, id_field = _REFERENCES[kind]
    container = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
    return {reference[id_field] for reference in container.get(field) or []}


def name_of(prefix: str, data: str, salt: str = "") -> str:
    """Return the name of the object that holds `data`."""
    return f"{prefix}-{hashlib.sha256((salt + data).encode()).hexdigest()[:DIGITS]}"


def unused_objects(manager: Manager, labels: dict[str, str], *, adopts: bool = False) -> list[tuple[str, str]]:
    """Return kind and id of the owner's trials, and of its configs and secrets that no other service mounts.

    These are former generations, or what a killed run created without recording it; `adopts`: or what the docker stack
    of the cache's name has left. Trials come first, because what they mount can be removed only after them.
    """
    ours = filters(labels)
    objects = [(kind, item["ID"]) for kind in _REFERENCES for item in manager.get(f"/{kind}", **ours)]
    if adopts:
        stack = labels[NAMESPACE]
        of_stack = {"label": [f"{NAMESPACE}={stack}"]}
        found = [(kind, item) for kind in _REFERENCES for item in manager.get(f"/{kind}", **of_stack)]
        objects += [(kind, item["ID"]) for kind, item in found if is_of_stack(item["Spec"].get("Labels"), stack)]
    services = manager.get("/services", **ours)
    trials = {service["ID"] for service in services if is_trial(service)}

    def unmounted(objects: list[tuple[Kind, str]], services: list[dict[str, Any]]) -> list[tuple[Kind, str]]:
        lasting = [service for service in services if service["ID"] not in trials]
        return [(kind, id_) for kind, id_ in objects if not any(id_ in mounted(service, kind) for service in lasting)]

    unused = unmounted(objects, services)
    # Another owner's service may mount one: rare, and reading a large swarm's services at each preview is slow.
    unused = unmounted(unused, manager.get("/services")) if unused else []
    return [*(("services", id_) for id_ in trials), *unused]


class SwarmFileProvider(SwarmProvider):
    """Creates, finds and removes objects whose names end in a hash of their content."""

    updates_on = ("labels",)
    replaces_on = ("name",)
    shows_changes = True
    kind: ClassVar[Kind]

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Name the object after its content, as soon as that is known; refuse another owner's of that name."""
        if is_unknown(news["data"]):
            return CheckResult({**news, "name": rpc.UNKNOWN}, [])
        size = len(news["data"].encode())
        if not 0 < size < LARGEST[self.kind]:
            cache, _, part = news["prefix"].partition("_")
            limit = LARGEST[self.kind] - 1
            raise Refusal(
                f"msr-cache:caches.{cache}: found {size} bytes in {part}, expected 1 to {limit}, the swarm's limit"
            )
        named = {**news, "name": name_of(news["prefix"], news["data"], news.get("salt") or "")}
        if not unchanged(olds, named, "name") and (found := self.manager.find(f"/{self.kind}/{named['name']}")):
            self._refuse_other_owner(found, named, EXISTS)
        return CheckResult(named, [])

    def _refuse_other_owner(
        self, found: dict[str, Any], props: Props, problem: tuple[str, str], known: dict[str, str] | None = None
    ) -> None:
        what = f"{self.kind[:-1]} {props['name']}"
        refuse_other_owner(what, found["Spec"].get("Labels"), props["labels"], problem, known)

    def create(self, props: Props) -> CreateResult:
        """Create the object, or adopt an equal one that an interrupted run has left."""
        data = base64.b64encode(props["data"].encode()).decode()
        try:
            id_ = self.manager.create(self.kind, {"Name": props["name"], "Labels": props["labels"], "Data": data})
        except EngineError as error:
            if error.status != CONFLICT:
                raise
            found = self.manager.get(f"/{self.kind}/{props['name']}")
            self._refuse_other_owner(found, props, EXISTS)
            self._label(found, props)
            id_ = found["ID"]
        return CreateResult(id_, props)

    def update(self, id_: str, olds: Props, news: Props) -> UpdateResult:
        """Change the labels, the only part of an object that the swarm lets change: they name its owner."""
        found = self.manager.get(f"/{self.kind}/{id_}")
        self._refuse_other_owner(found, news, LOST, olds["labels"])
        self._label(found, news)
        return UpdateResult(news)

    def _label(self, found: Props, props: Props) -> None:
        if found["Spec"].get("Labels") != props["labels"]:
            self.manager.update(self.kind, found, {**found["Spec"], "Labels": props["labels"]})

    def read(self, id_: str, props: Props) -> ReadResult:
        return self.read_object(f"/{self.kind}/{id_}", id_, props)

    def delete(self, id_: str, props: Props) -> None:
        """Remove the object, unless the swarm rolled the cache's own service back to it."""
        users = [service for service in self.manager.get("/services") if id_ in mounted(service, self.kind)]
        if not any(is_same_owner(user["Spec"].get("Labels") or {}, props["labels"]) for user in users):
            self.manager.remove(self.kind, id_)


class ConfigProvider(SwarmFileProvider):
    """Swarm configs: states of earlier versions, which kept config.yml in one, name this class."""

    kind = "configs"


class SecretProvider(SwarmFileProvider):
    """Swarm secrets."""

    kind = "secrets"


class SwarmSecret(Tracked, provider=SecretProvider):
    """Swarm secret `prefix`-<hash> that holds `data` (text) under `labels`.

    Names can be read by others: a random `salt` in the hash keeps them from trying guesses at the content.
    """

    name: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(name, {**props, "data": pulumi.Output.secret(props["data"])}, opts)
