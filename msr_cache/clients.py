"""Sends clients to a cache: verifies it, registers it in MSR, and assigns it to accounts."""

from __future__ import annotations

from typing import Any

import pulumi

from msr_cache.certificate import Certificate
from msr_cache.resources.cache_user import CacheUser
from msr_cache.resources.registration import FormerEntries, Registration
from msr_cache.resources.verification import PullVerification, Verification
from msr_cache.scope import Scope
from msr_cache.service import RunningService


def declare(scope: Scope, certificate: Certificate, running: RunningService) -> None:
    """Declare what the settings ask for, in this order; deletes run the other way.

    Verification, Registration, one CacheUser for each account, FormerEntries, PullVerification.
    """
    name, verify = scope.name, scope.settings.verify_of(scope.name)
    checked = {
        "cache": name,
        "cacheUrl": scope.cache.url,
        "certificate": certificate.trust,
        "sha256": certificate.sha256,
        "specSha256": running.spec_sha256,
    }
    last: pulumi.Resource = running.rollout
    if verify != "off":
        last = Verification(f"{name}-verification", checked, scope.after(last))
    entry, wanted = None, scope.cache.register_in_msr
    if wanted:
        registration = _registration(scope, last, adopt=wanted.adopt)
        entry = registration.entry
        last = _assign(scope, registration, wanted.users)
    if verify == "pull":
        redirected = wanted is not None and scope.settings.msr.user in wanted.users
        pulled = checked | _msr(scope) | {"redirected": redirected, "entry": entry}
        PullVerification(f"{name}-pull", pulled, scope.after(last))


def _registration(scope: Scope, last: pulumi.Resource, *, adopt: bool) -> Registration:
    props = _msr(scope) | {"name": scope.name, "host": scope.cache.url, "adopt": adopt}
    return Registration(f"{scope.name}-registration", props, scope.after(last))


def _assign(scope: Scope, registration: Registration, users: list[str]) -> FormerEntries:
    """Send the accounts to the cache's entry, then remove the entries that they no longer use."""
    name, msr = scope.name, _msr(scope)
    props = msr | {"cache": registration.entry, "at": f"msr-cache:caches.{name}.registerInMsr.users"}
    assigned = [CacheUser(f"{name}-{user}-user", props | {"user": user}, scope.after(registration)) for user in users]
    former = msr | {"entry": registration.entry, "former": registration.former}
    return FormerEntries(f"{name}-former-entries", former, scope.after(registration, *assigned))


def _msr(scope: Scope) -> dict[str, Any]:
    msr_ca = scope.site.msr_ca
    return {"url": scope.settings.msr.url, "ca": msr_ca.pem if msr_ca else None}
