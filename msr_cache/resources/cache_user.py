"""An MSR account that pulls through a cache; destroy restores its former cache."""

from __future__ import annotations

import json
from collections.abc import Container

import pulumi
from pulumi.dynamic import CheckResult, ConfigureRequest, CreateResult, ReadResult, UpdateResult

from msr_cache.msr.api import Msr
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_provider import MsrProvider, Remembered, read_or_keep
from msr_cache.resources.provider import Props, is_unknown
from msr_cache.resources.tracked import Tracked

INPUTS = ("url", "ca", "user", "cache")


def pulled_through(msr: Msr, props: Props) -> str:
    """Return the id of the cache that `user`, set at the config key `at`, pulls through; Refusal if MSR has no user."""
    now = msr.cache_of(props["user"])
    if now is None:
        raise Refusal(
            f"{props['at']}: found {props['user']}, expected an account that exists in MSR: correct or add it"
        )
    return now


def refuse_unassignable(msr: Msr, props: Props, own: Container[str]) -> None:
    """Raise Refusal for an account that MSR does not have, or that pulls through a cache that is none of `own`.

    Another stack may have it: MSR says of an entry neither who made it nor for which stack. `adopt`: it is taken over.
    """
    now = pulled_through(msr, props)
    entry = msr.entry(now) if now and not props["adopt"] else None
    if entry and entry.name not in own:
        raise Refusal(
            f"{props['at']}: found {props['user']}, who pulls through {entry}, expected an account without a "
            "cache; left unchanged. If another stack has this account, remove it there and run pulumi up there. If "
            "none has it, set registerInMsr.adopt to true: destroy restores that cache"
        )


class FormerCacheProvider(MsrProvider):
    """Records an account's contentCacheUUID in the state, before CacheUser changes it: a killed run may forget that."""

    def configure(self, req: ConfigureRequest) -> None:
        """Read which caches are the stack's own: between these, accounts may move."""
        super().configure(req)
        self._own = json.loads(req.config.get("caches") or "{}")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Report a missing account or right, or an account that has another cache, in previews already."""
        if not olds and not is_unknown(news.get("ca")):
            refuse_unassignable(self.msr(news), news, self._own)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["user"], {**props, "before": self.msr(props).cache_of(props["user"]) or ""})


class CacheUserProvider(FormerCacheProvider):
    """Keeps one account's contentCacheUUID."""

    updates_on = ("cache", "url", "ca")

    def create(self, props: Props) -> CreateResult:
        """Point the account at the cache, unless a killed run already has, and remember its former cache."""
        now = pulled_through(self.msr(props), props)
        before = props["before"] if now == props["cache"] else now
        self.msr(props).point(props["user"], props["cache"])
        return CreateResult(props["user"], {**props, "before": "" if before == props["cache"] else before})

    def read(self, id_: str, props: Props) -> ReadResult:
        def current() -> Props | None:
            now = self.msr(props).cache_of(props["user"])
            return None if now is None else {**props, "cache": now}

        return read_or_keep(id_, props, INPUTS, current)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        self.msr(news).point(news["user"], news["cache"])
        return UpdateResult({**news, "before": olds["before"]})

    def delete(self, _id: str, props: Props) -> None:
        """Restore the account's former cache if it still exists, unless the account has been changed meanwhile."""
        msr = self.msr(props)
        if msr.cache_of(props["user"]) != props["cache"]:
            return
        before = props["before"]
        msr.point(props["user"], before if before and msr.entry(before) else "")


class FormerCache(Tracked, provider=FormerCacheProvider):
    """The entry `before`, through which account `user` of the MSR at `url` pulled at first; empty for none.

    `at` and `adopt` as for CacheUser.
    """

    before: pulumi.Output[str]


class CacheUser(Remembered, provider=CacheUserProvider):
    """Account `user` (at the config key `at`) of the MSR at `url`, which pulls through the entry with id `cache`.

    `adopt`: take it over from a cache that is not of this stack. `before` is the FormerCache's.
    """
