"""MsrCache: a cache's tracked resources, in the order in which they are created.

| step | resources | when |
|---|---|---|
| certificate | PrivateKey, CertRequest, SelfSignedCert, LocallySignedCert or SignedCertificate | changes nothing |
| upstreams | UpstreamCa for each next hop whose CA the config gives | changes nothing |
| accounts | FormerCache for each account of `registerInMsr.users` | changes nothing, refuses one that MSR can't send |
| preview | CacheSettings | changes nothing, says what changes: a preview first, `up` after the rollout |
| placement | Image, NodeLabel for each node | first, because the swarm may refuse it |
| files | HttpSecret, SwarmSecret for each file | created beside the files in use |
| service | docker.Service, Rollout | tried, rolled out; then the former files are removed |
| clients | Verification, Registration, CacheUser for each account, FormerEntries, PullVerification | last |
"""

from dataclasses import replace
from typing import Any

import pulumi

from msr_cache import certificate, clients, files, placement, preview, service, upstreams, volume
from msr_cache.certificate import Certificate
from msr_cache.config import registry_config
from msr_cache.placement import Placement
from msr_cache.scope import Ready, Scope, Site
from msr_cache.service import RunningService


class MsrCache(pulumi.ComponentResource):
    """An MSR content cache on a swarm; `outputs` is its entry in the stack output `caches`."""

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("msr:cache:MsrCache", name, {}, opts)
        scope = Scope(name, site, self)
        served = certificate.declare(scope)
        if pulumi.runtime.is_dry_run():  # first, so that its sentence comes before all that is printed of the change
            scope = replace(scope, first=preview.declare(scope, served))
        hops = upstreams.declare(scope)
        accounts = clients.accounts(scope, served)
        served = replace(served, checks=(*served.checks, *accounts.values()))
        placed = placement.declare(scope, served, hops)
        mounted = files.declare(scope, served, placed, hops)
        running = service.declare(scope, served, placed, mounted)
        if not pulumi.runtime.is_dry_run():  # last, so that the state never has settings whose trial failed
            preview.declare(replace(scope, first=running.rollout), served)
        site.ready[name] = Ready(served.trust, clients.declare(scope, served, accounts, running))
        outputs = stack_outputs(scope, served, placed, running)
        # Not known in the preview of a change: of a known value, the engine prints all that stays the same, too.
        self.outputs = pulumi.Output.all(outputs, running.rollout.finished).apply(lambda known: known[0])
        self.register_outputs({"url": scope.cache.url})


def stack_outputs(scope: Scope, served: Certificate, placed: Placement, running: RunningService) -> dict[str, Any]:
    """Return the cache's entry in the stack output `caches`."""
    msr_ca, blobs = scope.site.msr_ca, volume.place(scope.settings, scope.name)
    return {
        "url": scope.cache.url,
        "certificatePem": served.trust,
        "certificateExpires": served.expires,
        "certificateSha256": served.sha256,
        **({"certificateRequestPem": served.request} if served.request else {}),
        "msrCaSha256": msr_ca.sha256 if msr_ca else None,
        "nodes": scope.cache.nodes,
        "service": running.service.name,
        "image": placed.image.reference,
        **({"blobs": blobs} if blobs else {}),
        "configYaml": registry_config.masked_yaml(registry_config.render(scope.settings, scope.name)),
        "registration": {"name": scope.name, "host": scope.cache.url},
    }
