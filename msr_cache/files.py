"""The files that a cache's tasks mount: config.yml as a swarm config; certificates and key as swarm secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msr_cache.config import registry_config
from msr_cache.resources.http_secret import HttpSecret
from msr_cache.resources.swarm_file import SwarmConfig, SwarmSecret

if TYPE_CHECKING:
    import pulumi

    from msr_cache.certificate import Certificate
    from msr_cache.placement import Placement
    from msr_cache.scope import Scope


@dataclass(frozen=True)
class Files:
    """config.yml, and the secrets under the names that MSR's page gives their files."""

    config: SwarmConfig
    secrets: dict[str, SwarmSecret]


def mount(scope: Scope, certificate: Certificate, placement: Placement) -> Files:
    """Declare HttpSecret, SwarmConfig and one SwarmSecret for each of the other files."""
    name, settings, msr_ca = scope.name, scope.settings, scope.site.msr_ca
    child = scope.after(*placement.all)

    def file(part: str, data: pulumi.Input[str]) -> dict[str, Any]:
        return {"prefix": f"{name}_{part}", "data": data, "labels": scope.owner.labels(part)}

    def config_yml(http_secret: str) -> str:
        return registry_config.to_yaml(registry_config.render(settings, name, http_secret))

    http_secret = HttpSecret(f"{name}-http.secret", child)
    config = SwarmConfig(f"{name}-config.yml", file("config.yml", http_secret.value.apply(config_yml)), child)
    contents = {"cache.cert.pem": certificate.served, "cache.key.pem": certificate.key}
    if msr_ca:
        contents = {registry_config.ca_file(settings): msr_ca.pem, **contents}
    secrets = {part: SwarmSecret(f"{name}-{part}-file", file(part, data), child) for part, data in contents.items()}
    return Files(config, secrets)
