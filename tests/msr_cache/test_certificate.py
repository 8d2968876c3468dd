"""The cache's own key and certificate, as they are asked of pulumi-tls."""

from __future__ import annotations

import pytest

from tests.msr_cache.conftest import declared, plain


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
