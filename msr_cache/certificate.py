"""Where the cache's key and certificate come from: pulumi-tls, self-signed, for the node's FQDN."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_tls as tls

if TYPE_CHECKING:
    from msr_cache.settings import Cache

HOURS = 24


@dataclass(frozen=True)
class Certificate:
    """PEM texts of key (a Pulumi secret) and certificate, and when the certificate ends (RFC 3339)."""

    key: pulumi.Output[str]
    certificate: pulumi.Output[str]
    expires: pulumi.Output[str]


def self_signed(name: str, cache: Cache, opts: pulumi.ResourceOptions) -> Certificate:
    """Declare an RSA 4096 key (the manual page's `ssh-keygen -t rsa -b 4096`) and a server certificate for the FQDN."""
    key = tls.PrivateKey(f"{name}-cache.key.pem", algorithm="RSA", rsa_bits=4096, opts=opts)
    certificate = tls.SelfSignedCert(
        f"{name}-cache.cert.pem",
        private_key_pem=key.private_key_pem,
        subject={"common_name": cache.fqdn[:64]},  # X.520: ub-common-name; clients read the SAN
        dns_names=None if _is_ip(cache.fqdn) else [cache.fqdn],
        ip_addresses=[cache.fqdn] if _is_ip(cache.fqdn) else None,
        allowed_uses=["digital_signature", "key_encipherment", "server_auth"],
        validity_period_hours=cache.tls.validity_days * HOURS,
        early_renewal_hours=cache.tls.renew_days * HOURS,
        opts=opts,
    )
    return Certificate(key.private_key_pem, certificate.cert_pem, certificate.validity_end_time)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
