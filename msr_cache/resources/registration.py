"""A cache's entry in MSR, without which MSR redirects nobody to it.

The API can't change an entry. Another host or name is therefore a new entry with a new id, made before the old one
goes: the accounts that point at it (CacheUser) are pointed anew in between.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from msr_cache.msr import Entry, Msr, MsrError, Unanswered, Untrusted
from msr_cache.problems import Refusal
from msr_cache.resources.msr_provider import MsrProvider
from msr_cache.resources.provider import Props, is_unknown, unchanged

if TYPE_CHECKING:
    from collections.abc import Iterable

INPUTS = ("url", "ca", "name", "host", "adopt", "former")
IDENTITY = ("url", "name", "host")
DRAIN = 2.0
"""Seconds that a cache stays after its entry went: for clients that MSR has redirected there just before."""


def there_before(entries: Iterable[Entry], props: Props) -> Entry | None:
    """Return the entry to adopt, None where nothing is in the way; raise Refusal for what is there and not ours."""
    former = tuple(props.get("former") or ())
    theirs = [
        entry
        for entry in entries
        if (entry.name == props["name"] or entry.host == props["host"]) and (entry.name, entry.host) != former
    ]
    same = next((entry for entry in theirs if (entry.name, entry.host) == (props["name"], props["host"])), None)
    if same and props["adopt"]:
        return same
    if same:
        message = (
            f"MSR holds this very entry already: {same}. If a run of this stack was ended while it made it, or to take "
            "it over from whoever did, set registerInMsr.adopt to true; else remove it in MSR"
        )
        raise Refusal(message)
    if theirs:
        message = (
            f"MSR holds an entry of the same name or host already: {theirs[0]}. It is left as it is: "
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
    """Keeps one content cache entry; its id is MSR's."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Look, in previews too, whether the entry can be made; remember what our own was called before."""
        if unchanged(olds, news, *IDENTITY):
            return CheckResult({**news, "former": olds.get("former")}, [])
        news["former"] = [olds["name"], olds["host"]] if olds else None

        def look() -> None:
            if not is_unknown(news.get("ca")):
                there_before(self.msr(news).entries(), news)

        return self.checked(news, "registerInMsr", look)

    def create(self, props: Props) -> CreateResult:
        """Make the entry, or take up the one that is there."""
        msr = self.msr(props)
        known = msr.entries()
        entry = there_before(known, props) or add(msr, props, known)
        return CreateResult(entry.id, props)

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the entry as it is now; only one that MSR says it does not have counts as gone."""
        try:
            entry = self.msr(props).entry(id_)
        except Untrusted:
            # MsrCa's own read sees a rotated CA. The `up` of the same run brings it here and looks again (`update`).
            return ReadResult(id_, props, {key: props.get(key) for key in INPUTS})
        if entry is None:
            return ReadResult(None, {})
        now = {**props, "name": entry.name, "host": entry.host}
        return ReadResult(id_, now, {key: now.get(key) for key in INPUTS})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Another name or host is another entry, and so is one in another MSR."""
        other = [key for key in IDENTITY if olds[key] != news[key]]
        return DiffResult(changes=bool(other) or not unchanged(olds, news, "ca"), replaces=other)

    def update(self, id_: str, _olds: Props, news: Props) -> UpdateResult:
        """Reach MSR by its new CA."""
        if self.msr(news).entry(id_) is None:
            message = (
                f"the cache's entry {id_} was removed from MSR by somebody else: put it back by pulumi up --refresh"
            )
            raise Refusal(message)
        return UpdateResult(news)

    def delete(self, id_: str, props: Props) -> None:
        """Remove the entry, and let those finish whom MSR has redirected already."""
        self.msr(props).remove(id_)
        time.sleep(DRAIN)


class Registration(Resource, module="msr", name="Registration"):
    """Entry `name` with `host` in the MSR at `url`; `adopt`: one that is there already is taken over."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(RegistrationProvider(), name, {**props, "former": None}, opts)
