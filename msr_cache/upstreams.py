"""Where a cache fetches from: the CAs that it trusts for that."""

from dataclasses import dataclass

import pulumi

from msr_cache.config import registry_config
from msr_cache.config.settings import GivenCa
from msr_cache.resources.upstream_ca import UpstreamCa
from msr_cache.scope import Scope


@dataclass(frozen=True)
class Upstreams:
    """PEM texts, by file below /run/secrets: `cas` of MsrCa and `checks`, `roots` of the stack's own caches.

    `checks` must succeed before anything changes.
    """

    cas: dict[str, pulumi.Output[str]]
    roots: dict[str, pulumi.Output[str]]
    checks: list[UpstreamCa]


def declare(scope: Scope) -> Upstreams:
    """Declare one UpstreamCa for each next hop whose CA the config gives."""
    found = Upstreams({}, {}, [])
    for number, hop in enumerate(scope.settings.next_hops(scope.name)):
        file = registry_config.ca_file(scope.settings, number, hop) or ""
        if hop.cache:
            found.roots[file] = scope.site.ready[hop.cache].trust
        elif isinstance(hop.ca, GivenCa):
            at = f"msr-cache:caches.{scope.name}.upstreams[{number}]"
            props = {"at": at, "url": hop.url, "pins": hop.ca.sha256, "given": hop.ca.pem}
            found.checks.append(UpstreamCa(f"{scope.name}-upstream-{number}-ca", props, scope.after()))
            found.cas[file] = found.checks[-1].pem
        elif file and scope.site.msr_ca:
            found.cas[file] = scope.site.msr_ca.pem
    return found
