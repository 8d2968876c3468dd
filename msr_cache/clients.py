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
    props = {**_msr(scope), "at": f"msr-cache:caches.{scope.name}.registerInMsr.users", "adopt": wanted.adopt}
    return {
        user: FormerCache(
            f"{scope.name}-{user}-former-cache", {**props, "user": user}, scope.after(*certificate.checks)
        )
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


def _assign(
    scope: Scope, registration: Registration, former: dict[str, FormerCache], wanted: Register
) -> FormerEntries:
    """Send the accounts to the cache's entry, then remove the entries that they no longer use."""
    name, msr = scope.name, _msr(scope)
    props = {
        **msr,
        "cache": registration.entry,
        "at": f"msr-cache:caches.{name}.registerInMsr.users",
        "adopt": wanted.adopt,
    }
    assigned = [
        CacheUser(
            f"{name}-{user}-user", {**props, "user": user, "before": before.before}, scope.after(registration, before)
        )
        for user, before in former.items()
    ]
    entries = {**msr, "entry": registration.entry, "former": registration.former}
    return FormerEntries(f"{name}-former-entries", entries, scope.after(registration, *assigned))
