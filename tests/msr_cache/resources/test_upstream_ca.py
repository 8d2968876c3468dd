"""What is trusted of a next hop that answers over real TLS: what is given or pinned, if it verifies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msr_cache.resources.upstream_ca import UpstreamCaProvider
from msr_cache.x509 import pem
from tests.certificates import Made, make
from tests.msr_cache.conftest import message, refusal
from tests.msr_cache.resources.test_msr_ca_trust import CA, Msr

AT = "msr-cache:caches.asia.upstreams[0]"
SELF_SIGNED = make("cache", sans=("127.0.0.1",))
RENEWED = SELF_SIGNED.again(sans=("127.0.0.1",))
STRANGER = make("cache", sans=("127.0.0.1",))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Msr]:
    """Give a cache: a server that has nothing at /ca, and at first a self-signed certificate."""
    started = Msr(tmp_path)
    started.status = 404
    started.serve_as(SELF_SIGNED)
    yield started
    started.server.shutdown()
    started.server.server_close()


def asked(upstream: Msr, **ca: Any) -> dict[str, Any]:
    return {"at": AT, "url": upstream.url, "pins": ca.get("pins"), "given": ca.get("given")}


def trusted(upstream: Msr, **ca: Any) -> dict[str, Any]:
    return dict(UpstreamCaProvider().check({}, asked(upstream, **ca)).inputs)


def pin(made: Made) -> str:
    return pem.sha256(made.certificate)


def test_a_pinned_self_signed_certificate_is_its_own_ca(upstream: Msr) -> None:
    assert trusted(upstream, pins=[pin(SELF_SIGNED)])["pem"] == SELF_SIGNED.pem
    assert trusted(upstream, given=SELF_SIGNED.pem)["pem"] == SELF_SIGNED.pem


def test_a_pinned_ca_is_looked_for_where_msr_has_it(upstream: Msr) -> None:
    upstream.serve_as(CA.sign("msr", sans=("127.0.0.1",)))
    upstream.status = 200
    assert trusted(upstream, pins=[pin(CA)])["pem"] == CA.pem
    assert trusted(upstream, given=CA.pem)["pem"] == CA.pem


@pytest.mark.parametrize("answer", ["<html>", ""])
def test_what_is_at_ca_and_is_no_certificate_does_not_matter(upstream: Msr, answer: str) -> None:
    upstream.status, upstream.answer = 200, answer
    assert trusted(upstream, pins=[pin(SELF_SIGNED)])["pem"] == SELF_SIGNED.pem


def test_another_certificate_than_the_pinned_is_refused_with_both(upstream: Msr) -> None:
    line = refusal(UpstreamCaProvider(), asked(upstream, pins=[pin(STRANGER)]))
    assert line.startswith(f"{AT}.ca.sha256: found CN=cache (SHA-256 {pin(SELF_SIGNED)}, of its key sha256:")
    assert f"expected {pin(STRANGER)}" in line


def test_a_given_ca_that_did_not_sign_the_upstreams_certificate_is_refused(upstream: Msr) -> None:
    line = refusal(UpstreamCaProvider(), asked(upstream, given=STRANGER.pem))
    assert line.startswith(f"{AT}.ca: the upstream at {upstream.url} has a certificate that does not verify")
    assert "certificatePem" in line


def test_a_certificate_of_another_name_is_refused_though_it_is_pinned(upstream: Msr) -> None:
    other = make("elsewhere", sans=("elsewhere.example.com",))
    upstream.serve_as(other)
    assert "does not verify" in refusal(UpstreamCaProvider(), asked(upstream, pins=[pin(other)]))


def test_an_upstream_that_is_down_is_named_with_its_key(upstream: Msr) -> None:
    line = message(
        lambda: UpstreamCaProvider().check({}, {**asked(upstream, pins=["0a"]), "url": "https://127.0.0.1:1"})
    )
    assert line.startswith(f"{AT}.url: the upstream at https://127.0.0.1:1 can't be reached")


def test_what_is_known_is_kept_until_the_config_changes(upstream: Msr) -> None:
    known = trusted(upstream, pins=[pin(SELF_SIGNED)])
    upstream.serve_as(RENEWED)
    assert UpstreamCaProvider().check(known, asked(upstream, pins=[pin(SELF_SIGNED)])).inputs["pem"] == SELF_SIGNED.pem
    both = UpstreamCaProvider().check(known, asked(upstream, pins=[pin(SELF_SIGNED), pin(RENEWED)])).inputs
    assert both["pem"] == RENEWED.pem


def test_a_refresh_takes_a_renewed_certificate_of_a_pinned_key_and_no_other(upstream: Msr) -> None:
    known = trusted(upstream, pins=[pem.key_sha256(SELF_SIGNED.certificate)])
    upstream.serve_as(RENEWED)
    assert UpstreamCaProvider().read("id", known).outs["pem"] == RENEWED.pem
    upstream.serve_as(STRANGER)
    kept = UpstreamCaProvider().read("id", known).outs
    assert kept["pem"] == SELF_SIGNED.pem
    assert pin(STRANGER) in kept["unchecked"]
