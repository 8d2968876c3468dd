"""A cache's settings, and what of it clients see: kept in the state, so that a preview shows what changes in them.

Not inputs of the component: for those, the engine prints all that stays the same, too.
"""

from pulumi.dynamic import CreateResult, DiffResult

from msr_cache.resources.provider import Props, SwarmProvider
from msr_cache.resources.tracked import Tracked


class CacheSettingsProvider(SwarmProvider):
    """Keeps the settings, and changes nothing."""

    def create(self, props: Props) -> CreateResult:
        return CreateResult("settings", props)

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Let the engine compare: it then prints nothing but what differs."""
        return DiffResult()


class CacheSettings(Tracked, provider=CacheSettingsProvider):
    """Settings, config.yml and certificate of a cache, without secrets."""
