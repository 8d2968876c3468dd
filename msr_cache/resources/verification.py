"""The checks of a cache as a client sees it, repeated whenever the cache changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from pulumi.dynamic import CreateResult, UpdateResult

from msr_cache.foreign import shown
from msr_cache.msr.client_check import Blob, Target, fetch, tls_steps
from msr_cache.msr.registry import MsrRegistry
from msr_cache.resources.msr_provider import MsrProvider
from msr_cache.resources.provider import Props
from msr_cache.resources.tracked import Tracked
from msr_cache.rollout import convergence
from msr_cache.swarm import nodes


def target_of(props: Props) -> Target:
    """Return the cache that the properties describe."""
    return Target(props["cache"], props["cacheUrl"], props["certificate"], props["sha256"])


class VerificationProvider(MsrProvider):
    """Verifies on create and update; a failure leaves the state as it was, so the next `up` tries again."""

    updates_on: ClassVar[tuple[str, ...]] = ("cacheUrl", "certificate", "sha256", "specSha256", "port")

    def create(self, props: Props) -> CreateResult:
        self._verify(props)
        return CreateResult(props["cache"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        self._verify(news)
        return UpdateResult(news)

    def _verify(self, props: Props) -> None:
        for target in (*self._on_nodes(props), target_of(props)):
            for _, step in tls_steps(target):
                step()

    def _on_nodes(self, props: Props) -> Iterator[Target]:
        """Yield the cache as each node serves it, if a load balancer may send a client to any of them."""
        if not props.get("port"):
            return
        service = self.manager.get(f"/services/{props['service']}")
        tasks = convergence.current_tasks(self.manager, service)
        serving = {task.get("NodeID") for task in convergence.running(tasks)}
        for node in self.manager.get("/nodes"):
            if node["ID"] in serving:
                address = (nodes.address(node), int(props["port"]))
                yield replace(target_of(props), node=nodes.hostname(node), address=address)


class PullProvider(VerificationProvider):
    """Fetches a blob through the cache: via MSR's redirect if the configured account has one, else directly."""

    updates_on = (*VerificationProvider.updates_on, "url", "ca", "redirected", "entry")

    def _verify(self, props: Props) -> None:
        registry = MsrRegistry(self.msr(props))
        target = target_of(props)
        blob = registry.sample()
        fetch(target, blob, self._path(registry, blob, target) if props["redirected"] else blob.path)

    @staticmethod
    def _path(registry: MsrRegistry, blob: Blob, target: Target) -> str:
        location = registry.location(blob)
        if not location.startswith(f"{target.url}/"):
            meaning = (
                "the account's contentCacheUUID points elsewhere, or MSR does not redirect: run pulumi up --refresh, "
                "and check that redirects are on in MSR's settings"
            )
            raise target.failed(f"MSR redirects pulls to {shown(location.partition('?')[0])}", meaning)
        return location.removeprefix(target.url)


class Verification(Tracked, provider=VerificationProvider):
    """Verifies, without MSR, that clients can use the cache `cache` at `cacheUrl`.

    Behind a load balancer, `port` is that of each node which runs a task of `service`; they are verified first.
    """


class PullVerification(Tracked, provider=PullProvider):
    """Verifies the same cache with a blob of the MSR at `url`; `redirected`: via MSR's redirect."""
