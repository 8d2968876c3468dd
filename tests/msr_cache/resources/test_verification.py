"""A cache is verified again whenever it, or the way to it, differs from what was verified, and then only."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.runtime import rpc

from msr_cache.msr.client_check import Blob
from msr_cache.msr.registry import MsrRegistry
from msr_cache.refusal import Refusal
from msr_cache.resources import verification
from msr_cache.resources.verification import PullProvider, VerificationProvider

CACHE = {"cacheUrl": "https://cache", "certificate": "PEM", "sha256": "0a", "specSha256": "0b"}
KNOWN = {"cache": "asia", **CACHE, "url": "https://msr", "ca": "CA", "redirected": True, "entry": "e1"}
BLOB = Blob("repo", f"sha256:{'0a' * 32}")


@pytest.mark.parametrize("value", ["another", rpc.UNKNOWN])
@pytest.mark.parametrize("key", KNOWN)
def test_what_differs_from_what_was_verified_is_verified_again(key: str, value: str) -> None:
    news = {**KNOWN, key: value}
    assert VerificationProvider().diff("asia", KNOWN, news).changes is (key in CACHE)
    assert PullProvider().diff("asia", KNOWN, news).changes is (key != "cache")


@pytest.mark.parametrize("provider", [VerificationProvider(), PullProvider()])
def test_what_was_verified_is_not_verified_again(provider: VerificationProvider) -> None:
    assert not provider.diff("asia", KNOWN, dict(KNOWN)).changes


@pytest.mark.parametrize(
    ("redirected", "location", "fetched"),
    [
        (True, "https://cache/signed?token=1", "/signed?token=1"),
        (True, "https://cache.elsewhere/signed?token=1", None),
        (False, "", BLOB.path),
    ],
)
def test_a_blob_is_pulled_the_way_that_clients_are_sent(
    monkeypatch: pytest.MonkeyPatch, redirected: bool, location: str, fetched: str | None
) -> None:
    pulled: list[str] = []
    monkeypatch.setattr(MsrRegistry, "sample", lambda _: BLOB)
    monkeypatch.setattr(MsrRegistry, "location", lambda _, blob: location if blob == BLOB else "")
    monkeypatch.setattr(verification, "fetch", lambda target, blob, path: pulled.append(f"{target.url} {blob} {path}"))
    monkeypatch.setattr(PullProvider, "msr", lambda *_: None)
    provider, props = PullProvider(), {**KNOWN, "redirected": redirected}
    acts: list[Any] = [lambda: provider.create(props), lambda: provider.update("asia", {}, props)]
    for act in acts:
        if fetched:
            assert act().outs == props
        else:
            with pytest.raises(Refusal, match=r"MSR redirects pulls to https://cache\.elsewhere/signed\.\n"):
                act()
    assert pulled == ([f"https://cache {BLOB} {fetched}"] * 2 if fetched else [])
