"""What MSR's API may answer, and what that is taken for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from msr_cache import https
from msr_cache.msr.api import Credentials, Msr
from msr_cache.refusal import Refusal

ENTRY = b'[{"id": "1", "name": "asia", "host": "https://cache.asia.example.com"}]'


@pytest.fixture
def msr_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Msr]:
    """Make an MSR that answers each request with status 200 and this body."""

    def make(body: bytes) -> Msr:
        monkeypatch.setattr(https.Client, "ask", lambda *_: https.Answer(200, {}, body))
        return Msr("https://msr.example.com", None, Credentials("admin", "a password"))

    return make


@pytest.mark.parametrize("body", [b"", b"{}", b'""', b"0", b"false", b"[1]", b"[{}]", b"<html>"])
def test_an_odd_answer_is_an_error_and_never_no_entry(msr_with: Callable[[bytes], Msr], body: bytes) -> None:
    with pytest.raises(Refusal, match=r"check( that)? msr-cache:msr\.url"):
        msr_with(body).entry("1")


@pytest.mark.parametrize("body", [b"", b"[]", b'""', b"0", b"false", b"<html>"])
def test_an_odd_answer_is_an_error_and_never_an_account_without_a_cache(
    msr_with: Callable[[bytes], Msr], body: bytes
) -> None:
    with pytest.raises(Refusal, match=r"check( that)? msr-cache:msr\.url"):
        msr_with(body).cache_of("alice")


@pytest.mark.parametrize("body", [b"[]", b"null"])
def test_an_empty_list_is_no_entry(msr_with: Callable[[bytes], Msr], body: bytes) -> None:
    """Go writes an empty list in either way (encoding/json: a nil slice is null)."""
    assert msr_with(body).entry("1") is None
    assert msr_with(ENTRY).entry("2") is None


def test_an_entry_is_found_by_its_id(msr_with: Callable[[bytes], Msr]) -> None:
    entry = msr_with(ENTRY).entry("1")
    assert entry
    assert (entry.name, entry.host) == ("asia", "https://cache.asia.example.com")


@pytest.mark.parametrize("kind", ["password", "token"])
def test_credentials_that_msr_refuses_are_named_as_the_config_does(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(https.Client, "ask", lambda *_: https.Answer(401, {}, b"{}"))
    msr = Msr("https://msr", None, Credentials.from_config(json.dumps({"user": "ops", kind: "canary"})))
    with pytest.raises(Refusal) as caught:
        msr.entries()
    told = f"the {kind} of ops is wrong or revoked: run pulumi config set --path --secret 'msr-cache:msr.{kind}', then"
    assert told in str(caught.value)
    assert "canary" not in f"{caught.value}{msr.credentials!r}"
