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


def declare(scope: Scope, certificate: Certificate, running: RunningService) -> pulumi.Resource:
    """Declare what the settings ask for, in this order, and return the last; deletes run the other way.

    Verification, Registration, FormerCache and CacheUser for each account, FormerEntries, PullVerification.
    """
    name, verify = scope.name, scope.settings.verify_of(scope.name)
    checked = {
        "cache": name,
        "cacheUrl": scope.cache.url,
        "certificate": certificate.trust,
        "sha256": certificate.sha256,
        "specSha256": running.spec_sha256,
    }
    msr_ca, wanted = scope.site.msr_ca, scope.cache.register_in_msr
    msr = {"url": scope.settings.msr.url, "ca": msr_ca.pem if msr_ca else None}
    last: pulumi.Resource = running.rollout
    entry = None
    if verify != "off":
        behind = {"port": scope.cache.port, "service": running.service.id} if scope.cache.external_port else {}
        last = Verification(f"{name}-verification", checked | behind, scope.after(last))
    if wanted:
        props = msr | {"name": name, "host": scope.cache.url, "adopt": wanted.adopt}
        registration = Registration(f"{name}-registration", props, scope.after(last))
        entry = registration.entry
        last = _assign(scope, msr, registration, wanted)
    if verify == "pull":
        redirected = wanted is not None and scope.settings.msr.user in wanted.users
        checked |= msr | {"redirected": redirected, "entry": entry}
        last = PullVerification(f"{name}-pull", checked, scope.after(last))
    return last


def _assign(scope: Scope, msr: dict[str, Any], registration: Registration, wanted: Register) -> FormerEntries:
    """Send the accounts to the cache's entry, then remove the entries that they no longer use."""
    name = scope.name
    at = f"msr-cache:caches.{name}.registerInMsr.users"
    assigned = []
    for user in wanted.users:
        account = msr | {"user": user}
        before = FormerCache(f"{name}-{user}-former-cache", account, scope.after(registration))
        account |= {"cache": registration.entry, "before": before.before, "at": at, "adopt": wanted.adopt}
        assigned.append(CacheUser(f"{name}-{user}-user", account, scope.after(registration, before)))
    former = msr | {"entry": registration.entry, "former": registration.former}
    return FormerEntries(f"{name}-former-entries", former, scope.after(registration, *assigned))
