"""What a cache's clients are sent to: verified, then registered in MSR, then given to accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msr_cache.resources.cache_user import CacheUser
from msr_cache.resources.registration import FormerEntries, Registration
from msr_cache.resources.verification import PullVerification, Verification

if TYPE_CHECKING:
    import pulumi

    from msr_cache.certificate import Certificate
    from msr_cache.scope import Scope
    from msr_cache.service import Running


def send(scope: Scope, certificate: Certificate, running: Running) -> None:
    """Declare, as far as the settings ask for them, each after the one before and deleted before it.

    Verification, Registration, one CacheUser for each account, FormerEntries, PullVerification.
    """
    name, verify = scope.name, scope.settings.verify_of(scope.name)
    seen = {
        "cache": name,
        "cacheUrl": scope.cache.url,
        "certificate": certificate.trust,
        "sha256": certificate.sha256,
        "specSha256": running.spec_sha256,
    }
    last: pulumi.Resource = running.rollout
    if verify != "off":
        last = Verification(f"{name}-verification", seen, scope.after(last))
    entry = None
    if scope.cache.register_in_msr:
        registration, last = _register(scope, last)
        entry = registration.entry
    if verify == "pull":
        wish = scope.cache.register_in_msr
        redirected = wish is not None and scope.settings.msr.user in wish.users
        pulled = seen | _msr(scope) | {"redirected": redirected, "entry": entry}
        PullVerification(f"{name}-pull", pulled, scope.after(last))


def _register(scope: Scope, last: pulumi.Resource) -> tuple[Registration, pulumi.Resource]:
    """Return the entry in MSR, and the last resource that it takes to send the accounts there."""
    name, wish = scope.name, scope.cache.register_in_msr
    assert wish  # noqa: S101 - asked by the caller
    entry = _msr(scope) | {"name": name, "host": scope.cache.url, "adopt": wish.adopt}
    registration = Registration(f"{name}-registration", entry, scope.after(last))
    pointed = _msr(scope) | {"cache": registration.entry, "at": f"msr-cache:caches.{name}.registerInMsr.users"}
    users = [
        CacheUser(f"{name}-{user}-user", pointed | {"user": user}, scope.after(registration)) for user in wish.users
    ]
    former = _msr(scope) | {"entry": registration.entry, "former": registration.former}
    return registration, FormerEntries(f"{name}-former-entries", former, scope.after(registration, *users))


def _msr(scope: Scope) -> dict[str, Any]:
    msr_ca = scope.site.msr_ca
    return {"url": scope.settings.msr.url, "ca": msr_ca.pem if msr_ca else None}
