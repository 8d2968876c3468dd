"""Sends clients to a cache: verifies it, registers it in MSR, and assigns it to accounts."""

from typing import Any

import pulumi

from msr_cache.certificate import Certificate
from msr_cache.config.settings import Register
from msr_cache.resources.cache_user import CacheUser, FormerCache
from msr_cache.resources.registration import FormerEntries, Registration
from msr_cache.resources.verification import PullVerification, Verification
from msr_cache.scope import Scope
from msr_cache.service import RunningService


def accounts(scope: Scope, certificate: Certificate) -> dict[str, FormerCache]:
    """Declare FormerCache for each account that MSR is to send to the cache, by name; it refuses one that MSR can't."""
    wanted = scope.cache.register_in_msr
    if not wanted:
        return {}
    opts = scope.after(*certificate.checks)
    return {
        user: FormerCache(f"{scope.name}-{user}-former-cache", _account(scope, wanted, user), opts)
        for user in wanted.users
    }


def declare(
    scope: Scope, certificate: Certificate, former: dict[str, FormerCache], running: RunningService
) -> pulumi.Resource:
    """Declare what the settings ask for, in this order, and return the last; deletes run the other way.

    Verification, Registration, CacheUser for each account (`former`), FormerEntries, PullVerification.
    """
    name, verify = scope.name, scope.settings.verify_of(scope.name)
    checked = {
        "cache": name,
        "cacheUrl": scope.cache.url,
        "certificate": certificate.trust,
        "sha256": certificate.sha256,
        "specSha256": running.spec_sha256,
    }
    msr, wanted = _msr(scope), scope.cache.register_in_msr
    last: pulumi.Resource = running.rollout
    entry = None
    if verify != "off":
        behind = {"port": scope.cache.port, "service": running.service.id} if scope.cache.external_port else {}
        last = Verification(f"{name}-verification", checked | behind, scope.after(last))
    if wanted:
        props = msr | {"name": name, "host": scope.cache.url, "adopt": wanted.adopt}
        registration = Registration(f"{name}-registration", props, scope.after(last))
        entry = registration.entry
        last = _assign(scope, registration, former, wanted)
    if verify == "pull":
        redirected = wanted is not None and scope.settings.msr.user in wanted.users
        checked |= msr | {"redirected": redirected, "entry": entry}
        last = PullVerification(f"{name}-pull", checked, scope.after(last))
    return last


def _msr(scope: Scope) -> dict[str, Any]:
    msr_ca = scope.site.msr_ca
    return {"url": scope.settings.msr.url, "ca": msr_ca.pem if msr_ca else None}


def _account(scope: Scope, wanted: Register, user: str) -> dict[str, Any]:
    at = f"msr-cache:caches.{scope.name}.registerInMsr.users"
    return {**_msr(scope), "user": user, "at": at, "adopt": wanted.adopt}


def _assign(
    scope: Scope, registration: Registration, former: dict[str, FormerCache], wanted: Register
) -> FormerEntries:
    """Send the accounts to the cache's entry, then remove the entries that they no longer use."""
    assigned = []
    for user, before in former.items():
        props = _account(scope, wanted, user) | {"cache": registration.entry, "before": before.before}
        assigned.append(CacheUser(f"{scope.name}-{user}-user", props, scope.after(registration, before)))
    entries = _msr(scope) | {"entry": registration.entry, "former": registration.former}
    return FormerEntries(f"{scope.name}-former-entries", entries, scope.after(registration, *assigned))
