"""The cache's own key and certificate, as they are asked of pulumi-tls; how soon it ends is said in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from msr_cache.certificate import renewal
from msr_cache.config.settings import Tls
from tests.certificates import HOST, make
from tests.msr_cache.conftest import declared, plain

GIVEN = {"source": "csr", "certificate": make(HOST, sans=(HOST,)).pem}


def test_the_key_is_of_the_manual_pages_kind_and_length() -> None:
    """`ssh-keygen -t rsa -b 4096` in "Prepare the cache deployment"."""
    key = declared().one("PrivateKey").inputs
    assert (key["algorithm"], key["rsaBits"]) == ("RSA", 4096)


def test_the_certificate_is_for_a_server_of_the_nodes_fqdn() -> None:
    asked = plain(declared().one("SelfSignedCert").inputs)
    assert asked["dnsNames"] == ["cache.asia.example.com"]
    assert "ipAddresses" not in asked
    assert asked["subject"] == {"commonName": "cache.asia.example.com"}
    assert set(asked["allowedUses"]) == {"digital_signature", "key_encipherment", "server_auth"}
    assert not asked.get("isCaCertificate")


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1"])
def test_an_address_is_an_ip_san_since_clients_do_not_look_for_it_among_names(address: str) -> None:
    """RFC 2818, 3.1: an IP address in the URI must match an iPAddress SAN."""
    asked = plain(declared({".fqdn": address}).one("SelfSignedCert").inputs)
    assert asked["ipAddresses"] == [address]
    assert "dnsNames" not in asked


def test_a_long_fqdn_is_whole_in_the_san_and_cut_in_the_common_name() -> None:
    """X.520: a common name has at most 64 characters."""
    fqdn = f"{'a' * 60}.{'b' * 20}.example.com"
    asked = plain(declared({".fqdn": fqdn}).one("SelfSignedCert").inputs)
    assert asked["dnsNames"] == [fqdn]
    assert asked["subject"] == {"commonName": fqdn[:64]}


def test_validity_and_renewal_are_told_in_hours() -> None:
    tls = {"validityDays": 90, "renewDays": 10}
    asked = plain(declared({".tls": tls}).one("SelfSignedCert").inputs)
    assert (asked["validityPeriodHours"], asked["earlyRenewalHours"]) == (90 * 24, 10 * 24)


def said(days_left: float, **tls: object) -> str | None:
    ends = datetime.now(UTC) + timedelta(days=days_left)
    # With nanoseconds, as pulumi-tls writes it.
    text = renewal("asia", Tls.model_validate(tls), f"{ends:%Y-%m-%dT%H:%M:%S}.123456789Z")
    assert text is None or f"the certificate expires on {ends:%Y-%m-%d}" in text
    return text


@pytest.mark.parametrize(
    ("days_left", "words"),
    [
        (59.5, "in 59 days: the first pulumi up within renewDays (30) of that makes a new one"),
        (30.5, "in 30 days: the first pulumi up within renewDays (30)"),
        (29.5, "in 29 days, which is within renewDays (30): this run makes a new one"),
        (-3, "in 0 days, which is within renewDays (30): this run makes a new one"),
    ],
)
def test_the_end_of_a_certificate_that_the_stack_makes_is_said_from_twice_the_window_on(
    days_left: float, words: str
) -> None:
    assert words in (said(days_left) or "")


@pytest.mark.parametrize(("days_left", "renew_days"), [(61, 30), (365, 30), (1, 0)])
def test_nothing_is_said_before(days_left: float, renew_days: int) -> None:
    assert said(days_left, renewDays=renew_days) is None


def test_of_a_given_certificate_it_is_said_that_somebody_must_give_the_next() -> None:
    assert "in 40 days: give a renewed one before fewer than renewDays (30) are left" in (said(40.5, **GIVEN) or "")
