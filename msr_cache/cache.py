"""MsrCache: a cache's tracked resources, in the order in which they are made.

| step | resources | when |
|---|---|---|
| certificate | PrivateKey, CertRequest, SelfSignedCert, LocallySignedCert or SignedCertificate | changes nothing |
| placement | Image, NodeLabel for each node | first, because the swarm may refuse it |
| files | HttpSecret, SwarmConfig, SwarmSecret for each file | created beside the ones that serve |
| service | docker.Service, Rollout | tried, rolled out; then the former files are removed |
| clients | Verification, Registration, CacheUser for each account, FormerEntries, PullVerification | last |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi

from msr_cache import certificate, clients, files, placement, service
from msr_cache.config import registry_config
from msr_cache.scope import Scope, Site

if TYPE_CHECKING:
    from msr_cache.certificate import Certificate
    from msr_cache.config.settings import Settings
    from msr_cache.placement import Placement
    from msr_cache.service import Running


class MsrCache(pulumi.ComponentResource):
    """An MSR content cache on a swarm; `outputs` is what the stack says of it."""

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        config_yaml = registry_config.masked_yaml(registry_config.render(site.settings, name))
        super().__init__("msr:cache:MsrCache", name, described(site.settings, name, config_yaml), opts)
        scope = Scope(name, site, self)
        own = certificate.declare(scope)
        placed = placement.place(scope, own)
        mounted = files.mount(scope, own, placed)
        running = service.run(scope, own, placed, mounted)
        clients.send(scope, own, running)
        self.outputs = told(scope, own, placed, running, config_yaml)
        self.register_outputs({"url": scope.cache.url})


def described(settings: Settings, name: str, config_yaml: str) -> dict[str, Any]:
    """Return the settings and config.yml, secrets masked: `pulumi preview --diff` shows changes of these in words."""
    cache = settings.caches[name]
    return cache.model_dump(by_alias=True, exclude={"registry_config", "storage", "tls"}, exclude_none=True) | {
        "tls": cache.tls.preview_fields(),
        "verify": settings.verify_of(name),
        "image": settings.image_of(name),
        "label": settings.label_of(name),
        "upstreams": settings.upstreams_of(name),
        "configYaml": config_yaml,
    }


def told(scope: Scope, own: Certificate, placed: Placement, running: Running, config_yaml: str) -> dict[str, Any]:
    """Return the cache's entry in the stack output `caches`."""
    msr_ca = scope.site.msr_ca
    return {
        "url": scope.cache.url,
        "certificatePem": own.trust,
        "certificateExpires": own.expires,
        "certificateSha256": own.sha256,
        **({"certificateRequestPem": own.request} if own.request else {}),
        "msrCaSha256": msr_ca.sha256 if msr_ca else None,
        "nodes": scope.cache.nodes,
        "service": running.service.name,
        "image": placed.image.reference,
        "configYaml": config_yaml,
        "registration": {"name": scope.name, "host": scope.cache.url},
    }
