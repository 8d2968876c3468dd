"""The registry's http.secret: random, made once, kept."""

from __future__ import annotations

import re

from msr_cache.resources.http_secret import HttpSecretProvider
from tests.msr_cache.conftest import NOWHERE, configured


def create() -> tuple[str, str]:
    made = configured(HttpSecretProvider(), NOWHERE).create({"value": None})
    return made.id, made.outs["value"]


def test_it_is_256_random_bits_that_no_other_cache_has() -> None:
    values = {create()[1] for _ in range(20)}
    assert len(values) == 20
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in values)


def test_its_id_which_is_never_encrypted_says_nothing_of_it() -> None:
    (first, one), (second, other) = create(), create()
    assert first == second
    assert one not in first
    assert other not in first


def test_it_is_never_made_anew_by_itself() -> None:
    """Without changes of its own the engine compares inputs, of which there are none that change."""
    provider = configured(HttpSecretProvider(), NOWHERE)
    made = provider.create({"value": None}).outs
    assert provider.check({"value": None}, {"value": None}).failures == []
    assert not provider.diff("http.secret", made, {"value": None}).changes
    kept = provider.read("http.secret", made)
    assert kept.outs["value"] == made["value"]
