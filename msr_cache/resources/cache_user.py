"""An MSR account that pulls through a cache: pointed at it, and put back on destroy to what it was before."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.https import Untrusted
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_provider import MsrProvider
from msr_cache.resources.provider import Props, is_unknown, unchanged
from msr_cache.resources.tracked import Tracked

INPUTS = ("url", "ca", "user", "cache")


class CacheUserProvider(MsrProvider):
    """Keeps one account's contentCacheUUID."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Look, in previews too, whether there is such an account and we may ask."""
        if not olds and not is_unknown(news.get("ca")):
            self._now(news)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        """Point the account at the cache and remember where it pointed before."""
        before = self._now(props)
        self.msr(props).point(props["user"], props["cache"])
        return CreateResult(props["user"], {**props, "before": "" if before == props["cache"] else before})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return where the account points now."""
        try:
            now = self.msr(props).cache_of(props["user"])
        except Untrusted:
            now = props["cache"]  # as Registration's read
        if now is None:
            return ReadResult(None, {})
        outs = {**props, "cache": now}
        return ReadResult(id_, outs, {key: outs.get(key) for key in INPUTS})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare where the account points, and how MSR is reached."""
        return DiffResult(changes=is_unknown(news["cache"]) or not unchanged(olds, news, "cache", "url", "ca"))

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Point the account at the cache's new entry."""
        self.msr(news).point(news["user"], news["cache"])
        return UpdateResult({**news, "before": olds["before"]})

    def delete(self, _id: str, props: Props) -> None:
        """Put the account back to the cache it had, if that is still there; leave what somebody else has set since."""
        msr = self.msr(props)
        if msr.cache_of(props["user"]) != props["cache"]:
            return
        before = props["before"]
        msr.point(props["user"], before if before and msr.entry(before) else "")

    def _now(self, props: Props) -> str:
        now = self.msr(props).cache_of(props["user"])
        if now is None:
            message = f"{props['at']}: MSR knows no account {props['user']}"
            raise Refusal(message)
        return now


class CacheUser(Tracked, module="msr", name="CacheUser"):
    """Account `user` of the MSR at `url`, given at the config key `at`, pulling through the entry of id `cache`."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(CacheUserProvider(), name, {**props, "before": None}, opts)
