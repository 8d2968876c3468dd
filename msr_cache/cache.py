"""MsrCache: a cache's tracked resources, in the order in which they are created.

| step | resources | when |
|---|---|---|
| certificate | PrivateKey, CertRequest, SelfSignedCert, LocallySignedCert or SignedCertificate | changes nothing |
| upstreams | UpstreamCa for each next hop whose CA the config gives | changes nothing |
| placement | Image, NodeLabel for each node | first, because the swarm may refuse it |
| files | HttpSecret, SwarmSecret for each file | created beside the files in use |
| service | docker.Service, Rollout | tried, rolled out; then the former files are removed |
| clients | Verification, Registration, FormerCache and CacheUser per account, FormerEntries, PullVerification | last |
"""

from typing import Any

import pulumi

from msr_cache import certificate, clients, files, placement, service, upstreams, volume
from msr_cache.certificate import Certificate
from msr_cache.config import registry_config
from msr_cache.config.settings import Settings
from msr_cache.placement import Placement
from msr_cache.scope import Ready, Scope, Site
from msr_cache.service import RunningService


class MsrCache(pulumi.ComponentResource):
    """An MSR content cache on a swarm; `outputs` is its entry in the stack output `caches`."""

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        config_yaml = registry_config.masked_yaml(registry_config.render(site.settings, name))
        super().__init__("msr:cache:MsrCache", name, component_inputs(site.settings, name, config_yaml), opts)
        scope = Scope(name, site, self)
        served = certificate.declare(scope)
        hops = upstreams.declare(scope)
        placed = placement.declare(scope, served, hops)
        mounted = files.declare(scope, served, placed, hops)
        running = service.declare(scope, served, placed, mounted)
        site.ready[name] = Ready(served.trust, clients.declare(scope, served, running))
        self.outputs = stack_outputs(scope, served, placed, running, config_yaml)
        self.register_outputs({"url": scope.cache.url})


_SHOWN_APART = {"environment", "registry_config", "storage", "tls"}


def component_inputs(settings: Settings, name: str, config_yaml: str) -> dict[str, Any]:
    """Return the settings and config.yml, secrets masked, whose changes `pulumi preview --diff` shows."""
    cache = settings.caches[name]
    return cache.model_dump(by_alias=True, exclude=_SHOWN_APART, exclude_none=True) | {
        "tls": cache.tls.preview_fields(),
        **({"environment": service.environment(cache, name)} if cache.environment else {}),
        "verify": settings.verify_of(name),
        "image": settings.image_of(name),
        "label": settings.label_of(name),
        "upstreams": settings.upstreams_of(name),
        "configYaml": config_yaml,
    }


def stack_outputs(
    scope: Scope, served: Certificate, placed: Placement, running: RunningService, config_yaml: str
) -> dict[str, Any]:
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
        "configYaml": config_yaml,
        "registration": {"name": scope.name, "host": scope.cache.url},
    }
