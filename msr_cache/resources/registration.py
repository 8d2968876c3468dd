"""A cache's entry in MSR: without it MSR redirects no client to the cache.

The API can't change an entry, so another host or name needs a new entry with a new id. FormerEntries removes the old
one after the accounts (CacheUser) point at the new one. This is an update, not a replacement by Pulumi, because only
an update passes the old entry's id to the provider.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from http import HTTPStatus

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.https import Unanswered
from msr_cache.msr.api import Entry, Msr, MsrError
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_provider import MsrProvider, Remembered, read_or_keep, warn_once
from msr_cache.resources.provider import Props, is_unknown, unchanged
from msr_cache.resources.tracked import Tracked

INPUTS = ("url", "ca", "name", "host", "adopt")
DRAIN = 2.0
"""Seconds that a cache outlives its entry, for clients that MSR has just redirected to it."""


def adoptable(entries: Iterable[Entry], props: Props, own: Container[str] = ()) -> Entry | None:
    """Return the entry to adopt, or None if there is none; Refusal for a conflict with any entry but `own` (ids)."""
    at, name, host = f"msr-cache:caches.{props['name']}.registerInMsr", props["name"], props["host"]
    conflicts = [entry for entry in entries if entry.id not in own and (entry.name == name or entry.host == host)]
    same = next((entry for entry in conflicts if (entry.name, entry.host) == (name, host)), None)
    if same and not props["adopt"]:
        raise Refusal(
            f"{at}: found the entry {same} in MSR, expected none. If an interrupted run of this stack created it, or "
            "to take it over, set registerInMsr.adopt to true; otherwise give this cache another name"
        )
    if conflicts and not same:
        raise Refusal(
            f"{at}: found an entry with the same name or host in MSR: {conflicts[0]}, expected none; left unchanged. "
            "Give this cache another name, or another fqdn or port. You can adopt only an entry with both"
        )
    return same


def add(msr: Msr, props: Props, known: Iterable[Entry]) -> Entry:
    """Create the entry; after a lost answer, find the entry that the request may have created."""
    ids = {entry.id for entry in known}
    try:
        return msr.add(props["name"], props["host"])
    except (Unanswered, MsrError) as error:
        if isinstance(error, MsrError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        for entry in msr.entries():
            if (entry.name, entry.host) == (props["name"], props["host"]) and entry.id not in ids:
                return entry
        raise


class RegistrationProvider(MsrProvider):
    """Keeps one content cache: `entry` is its id in MSR, `former` are the ids of the entries that it replaces."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Report a conflict in the first preview already."""
        if not olds and not is_unknown(news.get("ca")):
            adoptable(self.msr(news).entries(), news)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        msr = self.msr(props)
        known = msr.entries()
        entry = adoptable(known, props) or add(msr, props, known)
        return CreateResult(props["name"], {**props, "entry": entry.id, "former": []})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the entry as it is now; it is gone only if MSR's list lacks it."""

        def current() -> Props | None:
            entry = self.msr(props).entry(props["entry"])
            return {**props, "name": entry.name, "host": entry.host} if entry else None

        return read_or_keep(id_, props, INPUTS, current)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Report a conflict with another entry, or credentials that MSR refuses, in previews already.

        What stays needs no MSR: one that is down must not keep a cache from being repaired.
        """
        moved = not unchanged(olds, news, "name", "host")
        if is_unknown(news.get("ca")):
            return DiffResult(changes=True)
        try:
            known = self.msr(news).entries()
            if moved:
                adoptable(known, news, (*olds["former"], olds["entry"]))
        except Refusal as error:
            if moved or (isinstance(error, MsrError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR):
                raise
            if str(error) != olds.get("unchecked"):  # of which the program warns
                warn_once(str(error), "The credentials in msr-cache:msr are unchecked")
        return DiffResult(changes=moved or not unchanged(olds, news, "url", "ca"))

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Create another entry if name or host change, and remember the old one."""
        msr = self.msr(news)
        known = {entry.id: entry for entry in msr.entries()}
        if olds["entry"] not in known and olds["url"] != news["url"]:
            raise Refusal(
                f"msr-cache:msr.url: found {news['url']}, expected {olds['url']}, the MSR with this cache's entry: set "
                "msr.url back and registerInMsr to false, run pulumi up, then set the new msr.url"
            )
        # Former entries are still there if a run was interrupted before it removed them.
        own = [known[id_] for id_ in (*olds["former"], olds["entry"]) if id_ in known]
        same = next((entry for entry in own if (entry.name, entry.host) == (news["name"], news["host"])), None)
        ids = [entry.id for entry in own]
        entry = same or adoptable(known.values(), news, ids) or add(msr, news, known.values())
        return UpdateResult({**news, "entry": entry.id, "former": [id_ for id_ in ids if id_ != entry.id]})

    def delete(self, _id: str, props: Props) -> None:
        """Remove the entry, and wait for clients that MSR has just redirected."""
        msr = self.msr(props)
        for id_ in (*props["former"], props["entry"]):
            msr.remove(id_)
        time.sleep(DRAIN)


class Registration(Remembered, provider=RegistrationProvider):
    """Content cache `name` with `host` in the MSR at `url`; `adopt`: take over an existing one."""

    entry: pulumi.Output[str]
    former: pulumi.Output[list[str]]


class FormerEntriesProvider(MsrProvider):
    """Removes the entries that a Registration has replaced: once more for one that is taken back."""

    updates_on = ("entry", "former")

    def create(self, props: Props) -> CreateResult:
        self._remove(props)
        return CreateResult(props["entry"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        self._remove(news)
        return UpdateResult(news)

    def _remove(self, props: Props) -> None:
        for id_ in props["former"]:
            self.msr(props).remove(id_)


class FormerEntries(Tracked, provider=FormerEntriesProvider):
    """Removes the entries `former`, which `entry` replaces, after all accounts point at `entry`."""
