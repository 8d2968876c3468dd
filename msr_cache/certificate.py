"""Where the cache's key and certificate come from: made by pulumi-tls, signed by a CA of the stack's, or given."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_tls as tls

from msr_cache.resources.signed_certificate import SignedCertificate
from msr_cache.x509.pem import sha256_of

if TYPE_CHECKING:
    from msr_cache.config.settings import Cache, Settings, Tls
    from msr_cache.scope import Scope
    from msr_cache.x509.chain import Chain

HOURS = 24
# Ten years longer than the longest certificate, and made anew as long before its end: what it signs ends before it.
CA_DAYS, CA_RENEW_DAYS = 7300, 3650
_KEYS: dict[str, dict[str, Any]] = {
    "rsa2048": {"algorithm": "RSA", "rsa_bits": 2048},
    "rsa3072": {"algorithm": "RSA", "rsa_bits": 3072},
    "rsa4096": {"algorithm": "RSA", "rsa_bits": 4096},
    "ecdsaP256": {"algorithm": "ECDSA", "ecdsa_curve": "P256"},
    "ecdsaP384": {"algorithm": "ECDSA", "ecdsa_curve": "P384"},
}


@dataclass(frozen=True)
class Certificate:
    """PEM texts: `key` (a Pulumi secret), what is `served` (certificate, intermediates), the root that clients `trust`.

    `expires` is RFC 3339; `request` is the CSR of source csr; nothing is changed before `checks` are made.
    """

    key: pulumi.Output[str]
    served: pulumi.Output[str]
    trust: pulumi.Output[str]
    expires: pulumi.Output[str]
    request: pulumi.Output[str] | None = None
    checks: tuple[pulumi.Resource, ...] = ()

    @property
    def sha256(self) -> pulumi.Output[str]:
        """The fingerprint of the certificate that is served."""
        return self.served.apply(sha256_of)


@dataclass(frozen=True)
class Authority:
    """The CA of source localCa, as PEM texts; its key is a Pulumi secret.

    `sent` is what lies between its certificates and the `root` that clients trust, itself included. `ends` is None
    where it lives longer than all that it signs.
    """

    key: pulumi.Output[str]
    certificate: pulumi.Output[str]
    sent: str
    root: pulumi.Output[str]
    ends: datetime | None


def authority(settings: Settings, opts: pulumi.ResourceOptions) -> Authority | None:
    """Return the CA that the config gives, or declare one for all caches of the stack; None where no cache asks."""
    if not settings.signed_locally():
        return None
    if settings.local_ca:
        from msr_cache.x509 import pem
        from msr_cache.x509.chain import chain_of

        chain = chain_of(settings.local_ca.given(0))
        return Authority(
            pulumi.Output.secret(settings.local_ca.key),
            pulumi.Output.from_input(pem.text(chain.sent[0])),
            pem.text(*(link for link in chain.sent if link != chain.root)),
            pulumi.Output.from_input(pem.text(chain.root)),
            chain.ends,
        )
    key = tls.PrivateKey("local-ca.key.pem", **_KEYS["ecdsaP384"], opts=opts)
    root = tls.SelfSignedCert(
        "local-ca.cert.pem",
        private_key_pem=key.private_key_pem,
        subject={"common_name": f"MSR caches of {pulumi.get_project()}/{pulumi.get_stack()}"[:64]},
        is_ca_certificate=True,
        set_subject_key_id=True,
        allowed_uses=["cert_signing", "crl_signing"],
        validity_period_hours=CA_DAYS * HOURS,
        early_renewal_hours=CA_RENEW_DAYS * HOURS,
        opts=opts,
    )
    return Authority(key.private_key_pem, root.cert_pem, "", root.cert_pem, None)


def declare(scope: Scope) -> Certificate:
    """Declare the key and certificate of a cache, and warn when it is due."""
    opts = pulumi.ResourceOptions.merge(scope.after(), pulumi.ResourceOptions(provider=scope.site.tls))
    own = _by_source(scope.name, scope.cache, scope.site.local_ca, opts)
    own.expires.apply(lambda ends: _warn(renewal(scope.name, scope.cache.tls, ends)))
    return own


def _by_source(name: str, cache: Cache, ca: Authority | None, opts: pulumi.ResourceOptions) -> Certificate:
    """Declare what the source of the certificate asks for.

    A key that the stack makes stays the same when the source changes; by default RSA 4096, as the manual page's.
    """
    given = cache.tls.given
    if given and given.key is not None:
        return _of_chain(pulumi.Output.secret(given.key), _chain(cache.tls))
    key = tls.PrivateKey(f"{name}-cache.key.pem", **_KEYS[cache.tls.key_type], opts=opts)
    if cache.tls.source == "selfSigned":
        return _self_signed(name, cache, key, opts)
    request = tls.CertRequest(f"{name}-cache.csr.pem", **_subject(cache, key), opts=opts)
    if cache.tls.source == "localCa":
        assert ca is not None  # noqa: S101 - declared for all caches before the first
        return _locally_signed(name, cache, key, request, ca, opts)
    if not given:
        return _self_signed(name, cache, key, opts, request.cert_request_pem)
    of_key = SignedCertificate(
        f"{name}-signed",
        {
            "publicKeyPem": key.public_key_pem,
            "certificatePem": given.certificate,
            "at": f"msr-cache:caches.{name}.tls.certificate",
        },
        pulumi.ResourceOptions(parent=opts.parent),
    )
    return _of_chain(key.private_key_pem, _chain(cache.tls), request.cert_request_pem, (of_key,))


def _self_signed(
    name: str,
    cache: Cache,
    key: tls.PrivateKey,
    opts: pulumi.ResourceOptions,
    request: pulumi.Output[str] | None = None,
) -> Certificate:
    certificate = tls.SelfSignedCert(
        f"{name}-cache.cert.pem", **_subject(cache, key), **_use_and_life(cache.tls), opts=opts
    )
    pem = certificate.cert_pem
    return Certificate(key.private_key_pem, pem, pem, certificate.validity_end_time, request)


def _locally_signed(  # noqa: PLR0913, PLR0917 - a certificate's parts
    name: str,
    cache: Cache,
    key: tls.PrivateKey,
    request: tls.CertRequest,
    ca: Authority,
    opts: pulumi.ResourceOptions,
) -> Certificate:
    certificate = tls.LocallySignedCert(
        f"{name}-cache.cert.pem",
        cert_request_pem=request.cert_request_pem,
        ca_private_key_pem=ca.key,
        ca_cert_pem=ca.certificate,
        **_use_and_life(cache.tls),
        opts=opts,
    )

    def end(own: str) -> str:
        return own if ca.ends is None or _time(own) < ca.ends else _rfc3339(ca.ends)

    served = certificate.cert_pem.apply(lambda pem: pem + ca.sent)
    return Certificate(key.private_key_pem, served, ca.root, certificate.validity_end_time.apply(end))


def _of_chain(
    key: pulumi.Output[str],
    chain: Chain,
    request: pulumi.Output[str] | None = None,
    checks: tuple[pulumi.Resource, ...] = (),
) -> Certificate:
    from msr_cache.x509 import pem

    served, root, ends = map(
        pulumi.Output.from_input, (pem.text(*chain.sent), pem.text(chain.root), _rfc3339(chain.ends))
    )
    return Certificate(key, served, root, ends, request, checks)


def _chain(settings: Tls) -> Chain:
    from msr_cache.x509.chain import chain_of

    assert settings.given is not None  # noqa: S101 - asked for where one is given
    return chain_of(settings.given)


def _subject(cache: Cache, key: tls.PrivateKey) -> dict[str, Any]:
    addresses = [host for host in cache.hosts if _is_ip(host)]
    return {
        "private_key_pem": key.private_key_pem,
        "subject": {"common_name": cache.fqdn[:64]},  # X.520: ub-common-name; clients read the SAN
        "dns_names": [host for host in cache.hosts if host not in addresses] or None,
        "ip_addresses": addresses or None,
    }


def _use_and_life(settings: Tls) -> dict[str, Any]:
    # RFC 8422: an ECDSA key signs and encrypts nothing.
    encipherment = ["key_encipherment"] if settings.key_type.startswith("rsa") else []
    return {
        "allowed_uses": ["digital_signature", *encipherment, "server_auth"],
        "validity_period_hours": settings.validity_days * HOURS,
        "early_renewal_hours": settings.renew_days * HOURS,
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _time(rfc3339: str) -> datetime:
    return datetime.fromisoformat(rfc3339)


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def renewal(name: str, settings: Tls, expires: str) -> str | None:
    """Say what becomes of a certificate that ends at `expires`: within twice the window, else None."""
    left = _time(expires) - datetime.now(UTC)
    if left > timedelta(days=2 * settings.renew_days):
        return None
    found = f"msr-cache:caches.{name}.tls: the certificate ends on {expires[:10]}, in {max(left.days, 0)} days"
    window = f"renewDays ({settings.renew_days})"
    if settings.certificate is not None:
        return f"{found}: give a renewed one before those left are fewer than {window}"
    if left > timedelta(days=settings.renew_days):
        return f"{found}: the first pulumi up within {window} of that will make a new one"
    return f"{found}, which is within {window}: this run makes a new one"


def renewal_hook(name: str, settings: Tls) -> pulumi.ResourceHookBinding:
    """Say why a certificate is renewed.

    A preview does not know what a resource was that it replaces; what it updates, it does. (A hook before the old
    certificate's end would be told, but `destroy` without --run-program refuses resources that have such hooks.)
    """

    def before_update(args: pulumi.ResourceHookArgs) -> None:
        if ends := (args.old_inputs or {}).get("certificateExpires"):
            _warn(renewal(name, settings, ends))

    hook = pulumi.ResourceHook(f"{name}-renewal", before_update, pulumi.ResourceHookOptions(on_dry_run=True))
    return pulumi.ResourceHookBinding(before_update=[hook])


def _warn(text: str | None) -> None:
    if text:
        pulumi.log.warn(text)
