"""Where each cache's certificate came from: what clients trust must not go before there is what takes its place."""

import pulumi
from pulumi.dynamic import CheckResult, CreateResult

from msr_cache.resources.provider import Props, SwarmProvider
from msr_cache.resources.tracked import Tracked

LOCAL_CA = "localCa"


class TlsSourcesProvider(SwarmProvider):
    """Decides in `check`, which previews run too, by what the state has."""

    updates_on = ("sources",)

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Let a cache of localCa that waits for a signed certificate stay there."""
        former = olds.get("sources") or {}
        kept = {name: LOCAL_CA for name in news["waiting"] if former.get(name) == LOCAL_CA}
        return CheckResult({**news, "sources": news["wanted"] | kept}, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult("tls-sources", props)


class TlsSources(Tracked, provider=TlsSourcesProvider):
    """By cache, the `wanted` source; or localCa, if it was that and the cache is `waiting` for a signed certificate."""

    sources: pulumi.Output[dict[str, str]]
