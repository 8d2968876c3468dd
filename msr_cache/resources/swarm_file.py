"""A swarm config or secret: a file for the cache's tasks, immutable, so that new content is a new object.

pulumi-docker's own docker.ServiceConfig and docker.Secret would not do: they take any read error (a manager that hangs,
a 403 from MKE) for "gone" and drop the object from the state, fail to delete what is gone already, know no owner, and
can't take up again what a killed run has created (kreuzwerker/terraform-provider-docker, resource_docker_config.go).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, ClassVar, Literal

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown
from msr_cache.resources.tracked import Tracked
from msr_cache.swarm.manager import CONFLICT, EngineError, Manager
from msr_cache.swarm.ownership import filters, is_same_owner, is_trial, owner_in

Kind = Literal["configs", "secrets"]
DIGITS = 10
"""Hexadecimal digits of the content's SHA-256 in an object's name."""
LARGEST: dict[str, int] = {"configs": 1000 * 1024, "secrets": 500 * 1024}
"""Bytes, from which on swarmkit refuses (controlapi/config.go, api/validation/secrets.go)."""


_REFERENCES: dict[Kind, tuple[str, str]] = {"configs": ("Configs", "ConfigID"), "secrets": ("Secrets", "SecretID")}


def mounted(service: dict[str, Any], kind: Kind) -> set[str]:
    """Return the ids of the objects that a service's current spec mounts."""
    field, id_field = _REFERENCES[kind]
    container = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
    return {reference[id_field] for reference in container.get(field) or []}


def leftovers(manager: Manager, labels: dict[str, str]) -> list[tuple[str, str]]:
    """Return kind and id of the cache's own trials, and of its configs and secrets that no other service mounts.

    They are former generations, or what a killed run has created without noting it. Trials come first: what they
    mount can be removed only after them.
    """
    own = filters(labels)
    objects: list[tuple[Kind, str]] = [
        (kind, item["ID"]) for kind in _REFERENCES for item in manager.get(f"/{kind}", **own)
    ]
    services = manager.get("/services", **own)
    trials = {service["ID"] for service in services if is_trial(service)}
    unused = _unmounted(objects, services, trials)
    # Somebody else's service may mount one: rare, and reading a large swarm's services at each preview is slow.
    unused = _unmounted(unused, manager.get("/services"), trials) if unused else []
    return [*(("services", id_) for id_ in trials), *unused]


def _unmounted(
    objects: list[tuple[Kind, str]], services: list[dict[str, Any]], trials: set[str]
) -> list[tuple[Kind, str]]:
    lasting = [service for service in services if service["ID"] not in trials]
    return [(kind, id_) for kind, id_ in objects if not any(id_ in mounted(service, kind) for service in lasting)]


class SwarmFileProvider(SwarmProvider):
    """Creates, finds and removes objects whose names end in a hash of their content."""

    kind: ClassVar[Kind]

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Name the object after its content, as soon as that is known."""
        if is_unknown(news["data"]):
            return CheckResult({**news, "name": rpc.UNKNOWN}, [])
        data = news["data"].encode()
        if not 0 < len(data) < LARGEST[self.kind]:
            cache, _, part = news["prefix"].partition("_")
            message = (
                f"msr-cache:caches.{cache}: its {part} has {len(data)} bytes, allowed by the swarm are 1 to "
                f"{LARGEST[self.kind] - 1}"
            )
            raise Refusal(message)
        name = f"{news['prefix']}-{hashlib.sha256(data).hexdigest()[:DIGITS]}"
        return CheckResult({**news, "name": name}, [])

    def create(self, props: Props) -> CreateResult:
        """Create the object, or take up an equal one that an interrupted run has left."""
        spec = {
            "Name": props["name"],
            "Labels": props["labels"],
            "Data": base64.b64encode(props["data"].encode()).decode(),
        }
        try:
            id_ = self.manager.create(self.kind, spec)
        except EngineError as error:
            if error.status != CONFLICT:
                raise
            id_ = self._own(props)
        return CreateResult(id_, props)

    def _own(self, props: Props) -> str:
        found = self.manager.get(f"/{self.kind}/{props['name']}")
        labels = found["Spec"].get("Labels") or {}
        if not is_same_owner(labels, props["labels"]):
            message = (
                f"{self.kind[:-1]} {props['name']} is there already and belongs to {owner_in(labels)}: "
                "it is left as it is; remove it, or give the cache another name"
            )
            raise Refusal(message)
        return str(found["ID"])

    def read(self, id_: str, props: Props) -> ReadResult:
        """Only an object that the manager says it does not have counts as gone."""
        if self.manager.find(f"/{self.kind}/{id_}") is None:
            return ReadResult(None, {})
        return ReadResult(id_, props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Nothing of it can be changed in place."""
        changed = [key for key in ("name", "labels") if olds[key] != news[key]]
        return DiffResult(changes=bool(changed), replaces=changed)

    def delete(self, id_: str, props: Props) -> None:
        """Remove the object, unless the cache's own service has gone back to it."""
        users = [service for service in self.manager.get("/services") if id_ in mounted(service, self.kind)]
        if any(is_same_owner(user["Spec"].get("Labels") or {}, props["labels"]) for user in users):
            return
        self.manager.remove(self.kind, id_)


class ConfigProvider(SwarmFileProvider):
    """Swarm configs."""

    kind = "configs"


class SecretProvider(SwarmFileProvider):
    """Swarm secrets."""

    kind = "secrets"


class _SwarmFile(Tracked):
    name: pulumi.Output[str]

    def __init__(
        self, provider: SwarmFileProvider, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions
    ) -> None:
        # A config may hold http.secret or a storage account's key.
        props = {**props, "data": pulumi.Output.secret(props["data"]), "name": None}
        super().__init__(provider, name, props, opts)


class SwarmConfig(_SwarmFile, module="msr", name="SwarmConfig"):
    """Config `prefix`-<hash> that holds `data` (text) under `labels`."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(ConfigProvider(), name, props, opts)


class SwarmSecret(_SwarmFile, module="msr", name="SwarmSecret"):
    """Secret `prefix`-<hash> that holds `data` (text) under `labels`."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(SecretProvider(), name, props, opts)
