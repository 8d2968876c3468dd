"""An entry in MSR is made once, is never somebody else's, and is forgotten only where MSR says that it is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pulumi.dynamic import Config, ConfigureRequest
from pulumi.runtime import rpc

from msr_cache.https import Unanswered, Untrusted
from msr_cache.msr.api import Entry, MsrError
from msr_cache.refusal import Refusal
from msr_cache.resources import registration
from msr_cache.resources.cache_user import CacheUserProvider, FormerCacheProvider
from msr_cache.resources.msr_provider import warn_unchecked
from msr_cache.resources.registration import FormerEntriesProvider, RegistrationProvider
from tests.msr_cache.conftest import refusal

HOST = "https://cache.asia.example.com"
WANTED = {"url": "https://msr", "name": "asia", "host": HOST, "adopt": False}


class Msr:
    """An MSR that can be cut off: `lose` loses the answer to the next POST, `error` is what all else gives."""

    def __init__(self, *known: Entry) -> None:
        self.known = {entry.id: entry for entry in known}
        self.settings = {"alice": ""}
        self.lose = False
        self.lost: Exception = Unanswered("no answer")
        self.error: Exception | None = None

    def entries(self) -> list[Entry]:
        self._ask()
        return list(self.known.values())

    def entry(self, id_: str) -> Entry | None:
        return next((entry for entry in self.entries() if entry.id == id_), None)

    def _ask(self) -> None:
        if self.error:
            raise self.error

    def add(self, name: str, host: str) -> Entry:
        made = Entry(f"id{len(self.known)}", name, host)
        self.known[made.id] = made
        if self.lose:
            raise self.lost
        return made

    def remove(self, id_: str) -> None:
        self._ask()
        self.known.pop(id_, None)

    def cache_of(self, user: str) -> str | None:
        self._ask()
        return self.settings.get(user)

    def point(self, user: str, id_: str) -> None:
        self._ask()
        self.settings[user] = id_


@pytest.fixture(autouse=True)
def drained(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the seconds for which clients could drain, which pass at once."""
    seconds: list[float] = []
    monkeypatch.setattr(registration, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


def provider_of(kind: type[Any], msr: Msr) -> Any:
    made = kind()
    made.msr = lambda _: msr
    return made


OLD = {**WANTED, "entry": "id0", "former": []}


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_msr_refuses_are_an_error_also_where_nothing_changes(status: int, warned: list[str]) -> None:
    msr = Msr()
    provider = provider_of(RegistrationProvider, msr)
    assert not provider.diff("asia", OLD, WANTED).changes
    msr.error = MsrError(status, "the token of ops is wrong or revoked")
    with pytest.raises(MsrError, match="the token of ops is wrong"):
        provider.diff("asia", OLD, WANTED)
    assert not warned


@pytest.mark.parametrize("error", [Unanswered("MSR is down"), Untrusted("another CA"), MsrError(500, "busy")])
def test_an_msr_that_is_down_keeps_nothing_else_from_being_repaired_and_is_a_warning(
    error: Refusal, warned: list[str]
) -> None:
    msr = Msr()
    msr.error = error
    provider = provider_of(RegistrationProvider, msr)
    assert not provider.diff("asia", OLD, WANTED).changes
    assert warned == [f"{error}. The credentials in msr-cache:msr are unchecked"]
    with pytest.raises(type(error)):
        provider.diff("asia", OLD, {**WANTED, "host": "https://elsewhere"})


def test_what_keeps_msr_from_being_asked_is_one_warning_for_all_caches_and_accounts(warned: list[str]) -> None:
    why = "MSR at https://msr has a certificate that does not verify"
    paths = ("/api/v0/content_caches", "/api/v0/accounts/alice/settings", "/api/v0/accounts/bob/settings")
    for path in paths:
        warn_unchecked(f"GET {path}: {why}")
    assert warned == [f"{why}. The last refresh kept what the state has, unchecked"]
    msr = Msr()
    msr.error = Untrusted(f"GET {paths[0]}: {why}")
    provider = provider_of(RegistrationProvider, msr)
    assert not provider.diff("asia", {**OLD, "unchecked": str(msr.error)}, WANTED).changes
    assert len(warned) == 1
    for _ in ("asia", "europe"):
        provider.diff("asia", OLD, WANTED)
    assert warned[1:] == [f"{why}. The credentials in msr-cache:msr are unchecked"]


def test_credentials_are_unchecked_as_long_as_msrs_ca_is_unknown() -> None:
    msr = Msr()
    msr.error = MsrError(401, "asked too early")
    assert provider_of(RegistrationProvider, msr).diff("asia", OLD, {**WANTED, "ca": rpc.UNKNOWN}).changes


def test_a_lost_answer_of_an_msr_that_is_gone_then_is_an_error_and_the_next_run_makes_no_twin() -> None:
    msr = Msr()
    provider = provider_of(RegistrationProvider, msr)
    msr.lose = True
    calls: list[None] = []
    entries = msr.entries

    def down_after_the_first() -> list[Entry]:
        calls.append(None)
        if len(calls) > 1:
            raise Unanswered("down")
        return entries()

    msr.entries = down_after_the_first  # type: ignore[method-assign]
    with pytest.raises(Unanswered):
        provider.create(WANTED)
    msr.entries, msr.lose = entries, False  # type: ignore[method-assign]
    with pytest.raises(Refusal, match=r"set registerInMsr\.adopt to true"):
        provider.create(WANTED)
    assert provider.create({**WANTED, "adopt": True}).outs["entry"] == "id0"
    assert len(msr.known) == 1


@pytest.mark.parametrize(("name", "host"), [("asia", "https://theirs"), ("theirs", HOST)])
def test_an_entry_of_the_same_name_or_host_alone_is_refused_even_where_adoption_is_asked_for(
    name: str, host: str
) -> None:
    msr = Msr(Entry("theirs", name, host), Entry("more", "asia", "https://more"))
    provider = provider_of(RegistrationProvider, msr)
    wanted = {**WANTED, "adopt": True}
    told = refusal(provider, wanted)
    assert told.startswith("msr-cache:caches.asia.registerInMsr: found an entry with the same name or host in MSR")
    assert f"{name} at {host} (id theirs)" in told
    with pytest.raises(Refusal, match="the same name or host"):
        provider.create(wanted)
    assert list(msr.known) == ["theirs", "more"]


def test_a_move_onto_somebody_elses_entry_is_refused_in_the_preview() -> None:
    msr = Msr(Entry("theirs", "europe", "https://theirs"))
    provider = provider_of(RegistrationProvider, msr)
    olds = provider.create(WANTED).outs
    with pytest.raises(Refusal, match=r"europe at https://theirs \(id theirs\)"):
        provider.diff("asia", olds, {**WANTED, "host": "https://theirs"})


def test_another_name_of_the_same_msr_changes_nothing_in_it_and_another_msr_is_refused() -> None:
    msr = Msr()
    provider = provider_of(RegistrationProvider, msr)
    olds = provider.create(WANTED).outs
    elsewhere = {**WANTED, "url": "https://msr.example.com"}
    assert provider.update("asia", olds, elsewhere).outs["entry"] == olds["entry"]
    assert list(msr.known) == [olds["entry"]]
    msr.known.clear()
    with pytest.raises(Refusal, match="expected https://msr, the MSR with this"):
        provider.update("asia", olds, elsewhere)


@pytest.mark.parametrize(
    "error", [Unanswered("down"), Untrusted("rotated"), MsrError(502, "proxy"), Refusal("no JSON")]
)
def test_while_msr_cant_be_asked_a_refresh_keeps_what_is_known_and_all_else_is_an_error(error: Exception) -> None:
    """An MSR that is down must not keep an operator from repairing the swarm."""
    msr = Msr()
    provider, user = (provider_of(kind, msr) for kind in (RegistrationProvider, CacheUserProvider))
    outs, account = provider.create(WANTED).outs, user_of(msr, "id0", before="")
    msr.error = error
    for read in (provider.read("asia", outs), user.read("alice", account)):
        assert read.outs.pop("unchecked") == str(error)
        assert read.outs in (outs, account)
        assert "unchecked" not in read.inputs
    moved = {**WANTED, "host": "https://moved"}
    for act in (
        lambda: provider.update("asia", outs, moved),
        lambda: provider.delete("asia", outs),
        lambda: user.update("alice", account, {**account, "cache": "other"}),
        lambda: user.delete("alice", account),
    ):
        with pytest.raises(type(error), match=str(error)):
            act()
    msr.error = None
    assert provider.read("asia", {**outs, "unchecked": "a reason"}).outs["unchecked"] is None


def user_of(msr: Msr, cache: str, before: str) -> dict[str, Any]:
    msr.settings["alice"] = before
    props = {"url": "u", "user": "alice", "cache": cache, "before": before}
    outs: dict[str, Any] = provider_of(CacheUserProvider, msr).create(props).outs
    return outs


def test_a_user_is_put_back_even_if_the_run_was_killed_before_it_recorded_the_change() -> None:
    msr = Msr(Entry("old", "old", "https://old"))
    msr.settings["alice"] = "old"
    wanted = {"url": "u", "user": "alice", "cache": "new", "at": "at.users"}
    wanted |= {"before": provider_of(FormerCacheProvider, msr).create(wanted).outs["before"]}
    provider = provider_of(CacheUserProvider, msr)
    provider.create(wanted)
    outs = provider.create(wanted).outs
    assert msr.settings == {"alice": "new"}
    provider.delete("alice", outs)
    assert msr.settings == {"alice": "old"}


def test_a_user_who_was_pointed_elsewhere_after_a_killed_run_is_put_back_there() -> None:
    msr = Msr(Entry("third", "third", "https://third"))
    msr.settings["alice"] = "third"
    provider = provider_of(CacheUserProvider, msr)
    outs = provider.create({"url": "u", "user": "alice", "cache": "new", "before": "old"}).outs
    provider.delete("alice", outs)
    assert msr.settings == {"alice": "third"}


def test_a_user_whose_former_cache_is_gone_is_put_back_to_none() -> None:
    msr = Msr()
    provider_of(CacheUserProvider, msr).delete("alice", user_of(msr, "new", before="old"))
    assert msr.settings == {"alice": ""}


def test_a_user_who_was_pointed_elsewhere_since_is_left_there() -> None:
    msr = Msr()
    outs = user_of(msr, "new", before="")
    msr.settings["alice"] = "third"
    provider_of(CacheUserProvider, msr).delete("alice", outs)
    assert msr.settings == {"alice": "third"}


def test_a_user_who_is_gone_is_no_hindrance() -> None:
    msr = Msr()
    outs = user_of(msr, "new", before="")
    del msr.settings["alice"]
    provider = provider_of(CacheUserProvider, msr)
    assert provider.read("alice", outs).id is None
    provider.delete("alice", outs)
    with pytest.raises(Refusal, match=r"^at\.users: found alice, expected an account"):
        provider.create({"url": "u", "user": "alice", "cache": "new", "at": "at.users"})


# Drift, and the first preview


def test_what_was_changed_in_msr_by_hand_is_seen_and_repaired() -> None:
    msr = Msr()
    entry, user = provider_of(RegistrationProvider, msr), provider_of(CacheUserProvider, msr)
    outs, account = entry.create(WANTED).outs, user_of(msr, "id0", before="")
    assert entry.read("asia", outs).inputs == {**WANTED, "ca": None}
    assert not entry.diff("asia", outs, WANTED).changes
    msr.known = {"id0": Entry("id0", "moved", "https://moved")}
    seen = entry.read("asia", outs)
    assert (seen.inputs["name"], seen.inputs["host"]) == ("moved", "https://moved")
    assert entry.diff("asia", seen.outs, WANTED).changes
    repaired = entry.update("asia", seen.outs, WANTED).outs
    assert (repaired["former"], msr.known[repaired["entry"]].host) == (["id0"], HOST)
    msr.settings["alice"] = "theirs"
    seen = user.read("alice", account)
    assert (seen.outs["cache"], seen.inputs["cache"]) == ("theirs", "theirs")
    assert user.diff("alice", seen.outs, account).changes
    assert user.update("alice", seen.outs, account).outs == account
    assert msr.settings["alice"] == "id0"
    msr.known, msr.settings = {}, {}
    assert entry.read("asia", outs).id is None
    assert user.read("alice", account).id is None


@pytest.mark.parametrize("key", ["url", "ca", "cache"])
@pytest.mark.parametrize("value", ["another", rpc.UNKNOWN])
def test_an_account_is_pointed_again_if_its_entry_or_the_way_to_msr_differs(key: str, value: str) -> None:
    olds = {"url": "u", "user": "alice", "cache": "id0", "ca": "CA"}
    assert CacheUserProvider().diff("alice", olds, {**olds, key: value}).changes
    assert not CacheUserProvider().diff("alice", olds, {**olds, "at": "elsewhere"}).changes


NOBODY = {"url": "u", "user": "bob", "at": "at.users"}
CONFIGURED = ConfigureRequest(Config({"msr-cache:caches": '{"asia": {}}'}, "msr-cache"))


@pytest.mark.parametrize(
    ("kind", "wanted", "problem"),
    [
        (RegistrationProvider, WANTED, "found the entry asia"),
        (FormerCacheProvider, NOBODY, "^at.users: found bob, expected an account"),
        (CacheUserProvider, NOBODY, "^at.users: found bob, expected an account"),
    ],
)
def test_a_conflict_is_reported_by_the_first_preview_that_can_ask_msr(
    kind: type[Any], wanted: dict[str, Any], problem: str
) -> None:
    provider = provider_of(kind, Msr(Entry("left", "asia", HOST)))
    provider.configure(CONFIGURED)
    with pytest.raises(Refusal, match=problem):
        provider.check({}, dict(wanted))
    assert provider.check({}, {**wanted, "ca": rpc.UNKNOWN}).inputs["ca"] == rpc.UNKNOWN
    assert provider.check(wanted, dict(wanted)).inputs == wanted


TAKEN = {"url": "u", "user": "alice", "cache": "mine", "before": "", "at": "at.users", "adopt": False}


def taken(name: str, points_at: str = "theirs") -> tuple[Any, Msr]:
    """Return the provider of a stack with the cache asia, and an MSR whose alice has an entry of the name."""
    msr = Msr(Entry("theirs", name, "https://theirs"))
    msr.settings["alice"] = points_at
    provider = provider_of(CacheUserProvider, msr)
    provider.configure(CONFIGURED)
    return provider, msr


def test_an_account_that_another_stack_may_have_is_refused_by_name_in_the_preview_and_left() -> None:
    provider, msr = taken("sydney")
    with pytest.raises(
        Refusal, match=r"^at\.users: found alice, who pulls through sydney at https://theirs \(id theirs\)"
    ):
        provider.check({}, TAKEN)
    assert msr.settings == {"alice": "theirs"}


@pytest.mark.parametrize(
    ("name", "points_at", "adopt"),
    [("asia", "theirs", False), ("sydney", "theirs", True), ("sydney", "gone", False), ("sydney", "", False)],
    ids=["moved within the stack", "adopted", "of a cache that is gone", "free"],
)
def test_an_account_is_taken_when_it_is(name: str, points_at: str, adopt: bool) -> None:
    provider, msr = taken(name, points_at)
    wanted = {**TAKEN, "adopt": adopt}
    assert provider.check({}, wanted).inputs == wanted
    provider.create(wanted)
    assert msr.settings == {"alice": "mine"}


@pytest.mark.parametrize(
    ("lost", "found"),
    [(MsrError(499, "no"), False), (MsrError(500, "no"), True), (MsrError(502, "no"), True), (Unanswered("no"), True)],
)
def test_after_a_lost_answer_or_an_error_of_msrs_own_the_entry_is_looked_for(lost: Exception, found: bool) -> None:
    msr = Msr()
    msr.lost, msr.lose = lost, True
    provider = provider_of(RegistrationProvider, msr)
    if found:
        assert provider.create(WANTED).outs["entry"] == "id0"
    else:
        with pytest.raises(MsrError):
            provider.create(WANTED)
    assert [*msr.known] == ["id0"], "no twin"


def test_an_equal_entry_from_before_is_not_taken_for_the_one_whose_answer_was_lost() -> None:
    msr, theirs = Msr(), Entry("id0", "europe", "https://theirs")
    msr.lose = True
    with pytest.raises(Unanswered):
        registration.add(cast("Any", msr), {"name": theirs.name, "host": theirs.host}, [theirs])


@pytest.mark.parametrize(("last", "kept"), [("https://third", "id2"), (HOST, "id0")], ids=["moved on", "moved back"])
def test_a_cache_moves_once_more_though_a_run_was_interrupted_before_it_removed_the_former_entry(
    drained: list[float], last: str, kept: str
) -> None:
    msr = Msr()
    provider, cleaner = provider_of(RegistrationProvider, msr), provider_of(FormerEntriesProvider, msr)
    outs = provider.create(WANTED).outs
    cleaned = {key: outs[key] for key in ("entry", "former")}
    assert not cleaner.diff("", cleaned, dict(cleaned)).changes
    assert cleaner.diff("", cleaned, {"entry": rpc.UNKNOWN, "former": rpc.UNKNOWN}).changes
    for host in ("https://second", last):
        assert provider.diff("asia", outs, {**WANTED, "host": host}).changes
        outs = provider.update("asia", outs, {**WANTED, "host": host}).outs
        assert msr.known["id0"].host == HOST, "until clients have drained"
    assert outs["entry"] == kept
    assert cleaner.diff("", cleaned, outs).changes
    cleaner.update("", cleaned, outs)
    assert [(entry.id, entry.host) for entry in msr.entries()] == [(kept, last)]
    provider.delete("asia", outs)
    assert msr.known == {}
    assert drained == [2.0]
