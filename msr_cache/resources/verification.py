"""A cache that was looked at from here as a client sees it, each time that something of it has changed."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.msr.client_check import Blob, Target, fetch, tls_steps
from msr_cache.msr.registry import MsrRegistry
from msr_cache.resources.msr_provider import MsrProvider
from msr_cache.resources.provider import Props, is_unknown, unchanged
from msr_cache.resources.tracked import Tracked

TRIGGERS = ("cacheUrl", "certificate", "sha256", "specSha256")


def target_of(props: Props) -> Target:
    """Return the cache that these properties describe."""
    return Target(props["cache"], props["cacheUrl"], props["certificate"], props["sha256"])


class VerificationProvider(MsrProvider):
    """Verifies when it is made or changed; what failed is not in the state, so that the next `up` tries again."""

    def create(self, props: Props) -> CreateResult:
        """Verify for the first time."""
        self._verify(props)
        return CreateResult(props["cache"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Verify what has changed."""
        self._verify(news)
        return UpdateResult(news)

    def _verify(self, props: Props) -> None:
        for _, step in tls_steps(target_of(props)):
            step()

    def read(self, id_: str, props: Props) -> ReadResult:
        """There is nothing that could have drifted."""
        return ReadResult(id_, props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare what was looked at."""
        return DiffResult(changes=self._moved(olds, news, *TRIGGERS))

    @staticmethod
    def _moved(olds: Props, news: Props, *keys: str) -> bool:
        return any(is_unknown(news.get(key)) for key in keys) or not unchanged(olds, news, *keys)


class PullProvider(VerificationProvider):
    """Fetches a blob through the cache: sent there by MSR where our own account pulls through it, else directly."""

    def _verify(self, props: Props) -> None:
        registry = MsrRegistry(self.msr(props))
        target = target_of(props)
        blob = registry.sample()
        fetch(target, blob, self._path(registry, blob, target) if props["redirected"] else blob.path)

    @staticmethod
    def _path(registry: MsrRegistry, blob: Blob, target: Target) -> str:
        sent_to = registry.where(blob)
        if not sent_to.startswith(f"{target.url}/"):
            meaning = (
                "the account's contentCacheUUID points elsewhere, or MSR does not redirect: pulumi up --refresh, and "
                "see that redirects are on in MSR's settings"
            )
            raise target.failed(f"MSR sends pulls to {sent_to.partition('?')[0]}", meaning)
        return sent_to.removeprefix(target.url)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare what was looked at, and by whose redirect."""
        return DiffResult(changes=self._moved(olds, news, *TRIGGERS, "url", "ca", "redirected", "entry"))


class Verification(Tracked, module="msr", name="Verification"):
    """The cache `cache` at `cacheUrl`, verified up to its answering as a registry."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(VerificationProvider(), name, {**props}, opts)


class PullVerification(Tracked, module="msr", name="PullVerification"):
    """The same cache, verified by a blob of the MSR at `url`; `redirected`: MSR itself is asked where to fetch it."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(PullProvider(), name, {**props}, opts)
