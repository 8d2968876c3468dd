"""A cache's key and certificate: made by pulumi-tls, signed by a CA, or given in the config."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_tls as tls

from msr_cache.config.settings import Cache, Settings, Tls
from msr_cache.resources.signed_certificate import SignedCertificate
from msr_cache.resources.tls_sources import LOCAL_CA, TlsSources
from msr_cache.x509 import pem
from msr_cache.x509.pem import Given

# x509.chain is imported in the functions: a run that is given no certificate saves the time.
if TYPE_CHECKING:
    from msr_cache.scope import Scope

HOURS = 24
# The CA outlives what it signs: it is replaced ten years before its end, and no certificate is valid for longer.
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
    """PEM texts: `key` (a Pulumi secret), `served` (certificate, intermediates), and `trust`, the root for clients.

    `expires` is RFC 3339; `request` is the CSR for your CA; `checks` must succeed before anything changes.
    """

    key: pulumi.Output[str]
    served: pulumi.Output[str]
    trust: pulumi.Output[str]
    expires: pulumi.Output[str]
    subject: str
    request: pulumi.Output[str] | None = None
    checks: tuple[pulumi.Resource, ...] = ()

    @property
    def sha256(self) -> pulumi.Output[str]:
        """The fingerprint of the certificate that is served."""
        return self.served.apply(pem.sha256_of)


@dataclass(frozen=True)
class Authority:
    """The CA of source localCa, as PEM texts; its key is a Pulumi secret.

    `intermediates` are those that servers must send, up to the `root` that clients trust. `ends` is None if the CA
    outlives all that it signs.
    """

    key: pulumi.Output[str]
    certificate: pulumi.Output[str]
    root: pulumi.Output[str]
    intermediates: str = ""
    ends: datetime | None = None

    def expiry(self, leaf_expires: str) -> str:
        """Return when clients stop trusting a certificate: at its own end, or at the CA's if that is earlier."""
        if self.ends is None or datetime.fromisoformat(leaf_expires) < self.ends:
            return leaf_expires
        return _rfc3339(self.ends)


async def kept(settings: Settings) -> tuple[Settings, list[str]]:
    """Return the settings with source localCa where clients trust that until your CA has signed; and warnings."""
    sources: dict[str, str] = {name: cache.tls.source for name, cache in settings.caches.items()}
    waiting = [name for name, cache in settings.caches.items() if cache.tls.source == "csr" and not cache.tls.given]
    if not waiting and LOCAL_CA not in sources.values():
        return settings, []
    found = await TlsSources("tls-sources", {"wanted": sources, "waiting": waiting}).sources.future() or {}
    caches, warnings = {**settings.caches}, []
    for name in waiting:
        if found.get(name) == LOCAL_CA:
            tls = caches[name].tls.model_copy(update={"source": LOCAL_CA})
            caches[name] = caches[name].model_copy(update={"tls": tls})
            warnings.append(
                f"msr-cache:caches.{name}.tls: the cache keeps its certificate of localCa, which clients trust, until "
                "you have the stack output certificateRequestPem signed, and set the result as tls.certificate"
            )
    return settings.model_copy(update={"caches": caches}), warnings


def authority(settings: Settings, opts: pulumi.ResourceOptions) -> Authority | None:
    """Return the CA that the config gives, or declare one for all caches of the stack; None if no cache uses it."""
    if not settings.signed_locally():
        return None
    if settings.local_ca:
        from msr_cache.x509.chain import chain_of

        chain = chain_of(settings.local_ca.given(0))
        return Authority(
            pulumi.Output.secret(settings.local_ca.key),
            pulumi.Output.from_input(pem.text(chain.sent[0])),
            pulumi.Output.from_input(pem.text(chain.root)),
            pem.text(*(link for link in chain.sent if link != chain.root)),
            chain.ends,
        )
    key = tls.PrivateKey("local-ca.key.pem", **_KEYS["ecdsaP384"], opts=opts)
    root = tls.SelfSignedCert(
        "local-ca.cert.pem",
        private_key_pem=key.private_key_pem,
        subject={"common_name": _common_name(f"MSR caches of {pulumi.get_project()}/{pulumi.get_stack()}")},
        is_ca_certificate=True,
        set_subject_key_id=True,
        allowed_uses=["cert_signing", "crl_signing"],
        validity_period_hours=CA_DAYS * HOURS,
        early_renewal_hours=CA_RENEW_DAYS * HOURS,
        opts=opts,
    )
    return Authority(key.private_key_pem, root.cert_pem, root.cert_pem)


def declare(scope: Scope) -> Certificate:
    """Declare the key and certificate of a cache, and warn when a renewal is due."""
    certificate = _by_source(scope, scope.cache, scope.after(provider=scope.site.tls))
    certificate.expires.apply(lambda ends: _warn(renewal(scope.name, scope.cache.tls, ends)))
    return certificate


def _by_source(scope: Scope, cache: Cache, opts: pulumi.ResourceOptions) -> Certificate:
    """Declare what `tls.source` asks for; a key that the stack makes stays the same when the source changes."""
    name, given = scope.name, cache.tls.given
    if given and given.key is not None:
        return _of_chain(pulumi.Output.secret(given.key), given)
    key = tls.PrivateKey(f"{name}-cache.key.pem", **_KEYS[cache.tls.key_type], opts=opts)
    subject = {"private_key_pem": key.private_key_pem, **_subject(cache)}
    request = None
    if cache.tls.source != "selfSigned":
        request = tls.CertRequest(f"{name}-cache.csr.pem", **subject, opts=opts).cert_request_pem
    if cache.tls.source == LOCAL_CA:
        return _locally_signed(scope, key.private_key_pem, request, opts)
    if not given:
        made = tls.SelfSignedCert(f"{name}-cache.cert.pem", **subject, **_use_and_life(cache.tls), opts=opts)
        pem_text, ends = made.cert_pem, made.validity_end_time
        return Certificate(key.private_key_pem, pem_text, pem_text, ends, f"CN={_common_name(cache.fqdn)}", request)
    props = {
        "publicKeyPem": key.public_key_pem,
        "certificatePem": given.certificate,
        "at": f"msr-cache:caches.{name}.tls.certificate",
    }
    check = SignedCertificate(f"{name}-signed", props, scope.after())
    return replace(_of_chain(key.private_key_pem, given), request=request, checks=(check,))


def _locally_signed(
    scope: Scope, key: pulumi.Output[str], request: pulumi.Output[str] | None, opts: pulumi.ResourceOptions
) -> Certificate:
    ca = scope.site.local_ca
    assert ca is not None  # noqa: S101 - the site declares it if a cache uses it
    made = tls.LocallySignedCert(
        f"{scope.name}-cache.cert.pem",
        cert_request_pem=request,
        ca_private_key_pem=ca.key,
        ca_cert_pem=ca.certificate,
        **_use_and_life(scope.cache.tls),
        opts=opts,
    )
    served = made.cert_pem.apply(lambda text: text + ca.intermediates)
    ends = made.validity_end_time.apply(ca.expiry)
    # With the request, a company's CA can sign before the source becomes csr.
    return Certificate(key, served, ca.root, ends, f"CN={_common_name(scope.cache.fqdn)}", request)


def _of_chain(key: pulumi.Output[str], given: Given) -> Certificate:
    from msr_cache.x509.chain import chain_of

    chain, known = chain_of(given), pulumi.Output.from_input
    served, root, ends = pem.text(*chain.sent), pem.text(chain.root), _rfc3339(chain.ends)
    return Certificate(key, known(served), known(root), known(ends), pem.name(chain.sent[0]))


def _common_name(text: str) -> str:
    return text[:64]  # X.520: ub-common-name; clients read the SAN


def _subject(cache: Cache) -> dict[str, Any]:
    return {
        "subject": {"common_name": _common_name(cache.fqdn)},
        "dns_names": [host for host in cache.hosts if not pem.address(host)] or None,
        "ip_addresses": [host for host in cache.hosts if pem.address(host)] or None,
    }


def _use_and_life(settings: Tls) -> dict[str, Any]:
    # RFC 8422: an ECDSA key signs and encrypts nothing.
    encipherment = ["key_encipherment"] if settings.key_type.startswith("rsa") else []
    return {
        "allowed_uses": ["digital_signature", *encipherment, "server_auth"],
        "validity_period_hours": settings.validity_days * HOURS,
        "early_renewal_hours": settings.renew_days * HOURS,
    }


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def renewal(name: str, settings: Tls, expires: str) -> str | None:
    """Return a warning for a certificate that expires (RFC 3339) within twice renewDays, else None."""
    left = datetime.fromisoformat(expires) - datetime.now(UTC)
    if left > timedelta(days=2 * settings.renew_days):
        return None
    found = f"msr-cache:caches.{name}.tls: the certificate expires on {expires[:10]}, in {max(left.days, 0)} days"
    window = f"renewDays ({settings.renew_days})"
    if settings.certificate is not None:
        return f"{found}: give a renewed one before fewer than {window} are left"
    if left > timedelta(days=settings.renew_days):
        return f"{found}: the first pulumi up within {window} of that makes a new one"
    return f"{found}, which is within {window}: this run makes a new one"


def renewal_hook(name: str, settings: Tls) -> pulumi.ResourceHook:
    """Return a hook before updates of the rollout that warns why a certificate is renewed.

    A preview knows the old inputs of a resource that it updates, like the rollout, but not of one that it replaces,
    like the certificate. (A before-delete hook would, but `destroy` without --run-program refuses such hooks.)
    """

    def before_update(args: pulumi.ResourceHookArgs) -> None:
        if ends := (args.old_inputs or {}).get("certificateExpires"):
            _warn(renewal(name, settings, ends))

    return pulumi.ResourceHook(f"{name}-renewal", before_update, pulumi.ResourceHookOptions(on_dry_run=True))


def _warn(text: str | None) -> None:
    if text:
        pulumi.log.warn(text)
