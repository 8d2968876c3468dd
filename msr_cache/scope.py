"""What each step of declaring a cache takes: the cache, its site, and its component."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_docker as docker
import pulumi_tls as tls

from msr_cache import certificate
from msr_cache.config import image_registries
from msr_cache.config.settings import Cache, Settings
from msr_cache.resources.image import Image
from msr_cache.resources.msr_ca import MsrCa
from msr_cache.swarm.manager import Address
from msr_cache.swarm.nodes import Nodes
from msr_cache.swarm.ownership import Owner


@dataclass(frozen=True)
class Ready:
    """A cache for others to fetch from: the root that they trust, as PEM, and the last of its resources to be made."""

    trust: pulumi.Output[str]
    last: pulumi.Resource


@dataclass
class Site:
    """What all caches of a stack share: settings, state id, swarm, MSR's CA (None: the system's), and their own CA.

    `nodes` are the swarm's, as the run found them at its start; `ready` and `checked` grow by each cache that is
    declared. Nothing is made of any before all of `checked` are there, which is known once `declared` is set.
    `failed` are those whose check has failed, which ends a run unless it is to continue on errors.
    `adopted` are the ids of the services that this run takes over from docker stacks, by cache.
    """

    settings: Settings
    state_id: pulumi.Output[str]
    address: Address
    nodes: Nodes
    adopted: Mapping[str, str]
    ready: dict[str, Ready] = field(default_factory=dict)
    checked: list[Image] = field(default_factory=list)
    declared: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Declare what the caches share."""
        self.failed = asyncio.ensure_future(self._failed())
        settings, address = self.settings, self.address
        self.msr_ca = None if settings.msr.ca == "system" else MsrCa("msr-ca", settings.msr)
        # By what stands before the image's first slash, where the provider looks, also for docker.io.
        logins = [
            docker.ProviderRegistryAuthArgs(address=start, username=login[0], password=pulumi.Output.secret(login[1]))
            for start, image in {
                each.partition("/")[0]: each for each in map(settings.image_of, settings.caches)
            }.items()
            if (login := image_registries.login(address.registries, image))
        ]
        # Never `context`, of which the provider reads the host alone: see swarm/docker_context.py.
        # What is empty here stays so in the state: a refresh or destroy without the program then does not take it from
        # DOCKER_CONTEXT or DOCKER_*_MATERIAL, which would lead it to another swarm.
        self.docker = docker.Provider(
            "swarm",
            host=address.host,
            cert_path=address.cert_path,
            registry_auth=logins or None,
            context="",
            ca_material="",
            cert_material="",
            key_material="",
        )
        self.tls = tls.Provider("tls")
        self.local_ca = certificate.authority(settings, pulumi.ResourceOptions(provider=self.tls))

    async def _failed(self) -> list[Image]:
        await self.declared.wait()
        return [each for each in self.checked if not await each.reference.is_known()]


@dataclass(frozen=True)
class Scope:
    """Cache `name` of a site; its resources are children of `component`.

    They wait for `first`, and do not depend on it: a preview has another one than `up`. If dependencies differed, a
    preview would build the whole state anew for each resource, which takes most of its time in a large stack.
    """

    name: str
    site: Site
    component: pulumi.Resource
    first: pulumi.Resource | None = None

    @property
    def settings(self) -> Settings:
        return self.site.settings

    @property
    def cache(self) -> Cache:
        return self.settings.caches[self.name]

    @property
    def owner(self) -> Owner:
        return Owner(pulumi.get_project(), pulumi.get_stack(), self.name, self.site.state_id)

    def after(self, *resources: pulumi.Resource, **options: Any) -> pulumi.ResourceOptions:  # noqa: ANN401 - Pulumi's
        """Return the options of a child that is created after `resources`, and deleted before them."""

        async def dependencies(first: pulumi.Resource) -> list[pulumi.Input[pulumi.Resource]]:
            await first.urn.future()
            return [*resources]

        depends_on = asyncio.ensure_future(dependencies(self.first)) if self.first else resources
        return pulumi.ResourceOptions(parent=self.component, depends_on=depends_on, **options)

    def after_all_checked(self, *own: pulumi.Resource) -> pulumi.ResourceOptions:
        """Return the options of a child that is created after the cache's `own` checks and those of all caches.

        It waits for the others' and does not depend on them: that would be a dependency for each pair of caches.
        """

        async def checks() -> list[pulumi.Input[pulumi.Resource]]:
            return [*own, *await self.site.failed]

        return pulumi.ResourceOptions(parent=self.component, depends_on=asyncio.ensure_future(checks()))
