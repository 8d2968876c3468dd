"""A cache that waits for a signed certificate keeps the one of the CA that clients trust."""

from __future__ import annotations

import pytest

from msr_cache.resources.tls_sources import TlsSourcesProvider


@pytest.mark.parametrize(
    ("former", "wanted", "waiting", "kept"),
    [
        ("localCa", "csr", ["asia"], "localCa"),
        ("selfSigned", "csr", ["asia"], "csr"),
        ("csr", "csr", ["asia"], "csr"),
        (None, "csr", ["asia"], "csr"),
        ("localCa", "csr", [], "csr"),
        ("localCa", "selfSigned", [], "selfSigned"),
    ],
)
def test_local_ca_stays_while_the_cache_waits_and_no_longer(
    former: str | None, wanted: str, waiting: list[str], kept: str
) -> None:
    provider = TlsSourcesProvider()
    olds = {"sources": {"asia": former}} if former else {}
    news = {"wanted": {"asia": wanted}, "waiting": waiting}
    checked = provider.check(olds, news).inputs
    assert checked["sources"] == {"asia": kept}
    assert provider.check(checked, news).inputs == checked, "the next run decides the same"
    assert provider.create(checked).outs == checked
