"""A cache's entry in MSR, without which MSR redirects nobody to it.

The API can't change an entry. Another host or name is therefore a new entry with a new id; the old one goes only after
the accounts that point at it (CacheUser) were pointed anew. No `replace` of Pulumi's: a provider is not told then which
entry is its own.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, UpdateResult

from msr_cache.https import Unanswered, Untrusted
from msr_cache.msr.api import Entry, Msr, MsrError
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_provider import MsrProvider
from msr_cache.resources.provider import Props, is_unknown, unchanged
from msr_cache.resources.tracked import Tracked

if TYPE_CHECKING:
    from collections.abc import Iterable

INPUTS = ("url", "ca", "name", "host", "adopt")
DRAIN = 2.0
"""Seconds that a cache stays after its entry went: for clients that MSR has redirected there just before."""


def there_before(entries: Iterable[Entry], props: Props, own: str | None = None) -> Entry | None:
    """Return the entry to adopt, None where nothing is in the way; raise Refusal for what is there and not ours.

    `own` is the id of the entry that may be in the way, since it is about to go.
    """
    at, wanted = f"msr-cache:caches.{props['name']}.registerInMsr", (props["name"], props["host"])
    theirs = [entry for entry in entries if entry.id != own and (entry.name == wanted[0] or entry.host == wanted[1])]
    same = next((entry for entry in theirs if (entry.name, entry.host) == wanted), None)
    if same and props["adopt"]:
        return same
    if same:
        message = (
            f"{at}: MSR holds this very entry already: {same}. If a run of this stack was ended while it made it, or "
            "to take it over from whoever did, set registerInMsr.adopt to true; else remove it in MSR"
        )
        raise Refusal(message)
    if theirs:
        message = (
            f"{at}: MSR holds an entry of the same name or host already: {theirs[0]}. It is left as it is: "
            "remove it in MSR, or give this cache another name; only an entry of the same name and host can be adopted"
        )
        raise Refusal(message)
    return None


def add(msr: Msr, props: Props, known: Iterable[Entry]) -> Entry:
    """Make the entry; where no answer came, look whether it was made, so that no second try makes a twin."""
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
    """Keeps one content cache: `entry` is its id in MSR, `former` are ids of those that it has taken the place of."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Look, in the first preview too, whether the entry can be made."""
        if not olds and not is_unknown(news.get("ca")):
            there_before(self.msr(news).entries(), news)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        """Make the entry, or take up the one that is there."""
        msr = self.msr(props)
        known = msr.entries()
        entry = there_before(known, props) or add(msr, props, known)
        return CreateResult(props["name"], {**props, "entry": entry.id, "former": []})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the entry as it is now; only one that MSR's list lacks counts as gone."""
        try:
            entry = self.msr(props).entry(props["entry"])
        except Untrusted:
            # MsrCa's own read sees a rotated CA. The `up` of the same run brings it here and looks again (`update`).
            return ReadResult(id_, props, {key: props.get(key) for key in INPUTS})
        if entry is None:
            return ReadResult(None, {})
        now = {**props, "name": entry.name, "host": entry.host}
        return ReadResult(id_, now, {key: now.get(key) for key in INPUTS})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Look, in previews too, whether another entry can be made."""
        if not unchanged(olds, news, "name", "host"):
            there_before(self.msr(news).entries(), news, olds["entry"])
        return DiffResult(changes=not unchanged(olds, news, "url", "ca", "name", "host"))

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Make another entry where name or host have changed, and remember the old one."""
        msr = self.msr(news)
        known = {entry.id: entry for entry in msr.entries()}
        own = known.get(olds["entry"])
        if own is None and olds["url"] != news["url"]:
            message = (
                f"MSR at {news['url']} is another one than that at {olds['url']}, where this cache is registered: set "
                "msr-cache:msr.url back, registerInMsr to false, pulumi up, and only then name the other MSR"
            )
            raise Refusal(message)
        former = [id_ for id_ in (*olds["former"], olds["entry"]) if id_ in known]
        if own and (own.name, own.host) == (news["name"], news["host"]):
            return UpdateResult({**news, "entry": own.id, "former": former[:-1]})
        entry = there_before(known.values(), news, olds["entry"]) or add(msr, news, known.values())
        return UpdateResult({**news, "entry": entry.id, "former": former})

    def delete(self, _id: str, props: Props) -> None:
        """Remove the entry, and let those finish whom MSR has redirected already."""
        msr = self.msr(props)
        for id_ in (*props["former"], props["entry"]):
            msr.remove(id_)
        time.sleep(DRAIN)


class Registration(Tracked, module="msr", name="Registration"):
    """Content cache `name` with `host` in the MSR at `url`; `adopt`: one that is there already is taken over."""

    entry: pulumi.Output[str]
    former: pulumi.Output[list[str]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(RegistrationProvider(), name, {**props, "entry": None, "former": None}, opts)


class FormerEntriesProvider(MsrProvider):
    """Removes what a Registration has left behind."""

    def create(self, props: Props) -> CreateResult:
        """Remove the former entries."""
        self._remove(props)
        return CreateResult(props["entry"], props)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Remove the former entries."""
        self._remove(news)
        return UpdateResult(news)

    def _remove(self, props: Props) -> None:
        for id_ in props["former"]:
            self.msr(props).remove(id_)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """There is work as soon as another entry has taken the place of one."""
        return DiffResult(changes=is_unknown(news["entry"]) or olds["entry"] != news["entry"])

    def read(self, id_: str, props: Props) -> ReadResult:
        """There is nothing that could have drifted."""
        return ReadResult(id_, props)


class FormerEntries(Tracked, module="msr", name="FormerEntries"):
    """Entries `former`, which `entry` has taken the place of: gone once this is made, after all users have moved."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(FormerEntriesProvider(), name, {**props}, opts)
