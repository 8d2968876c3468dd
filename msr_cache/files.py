"""The files that a cache's tasks mount: config.yml as a swarm config; certificates and key as swarm secrets."""

from dataclasses import dataclass
from typing import Any

import pulumi

from msr_cache.certificate import Certificate
from msr_cache.config import registry_config
from msr_cache.placement import Placement
from msr_cache.resources.http_secret import HttpSecret
from msr_cache.resources.swarm_file import SwarmConfig, SwarmSecret
from msr_cache.scope import Scope


@dataclass(frozen=True)
class Files:
    """config.yml, and the secrets by the file names that MSR's documentation uses."""

    config: SwarmConfig
    secrets: dict[str, SwarmSecret]


def declare(scope: Scope, certificate: Certificate, placement: Placement) -> Files:
    """Declare HttpSecret, SwarmConfig and one SwarmSecret for each of the other files."""
    name, settings, msr_ca = scope.name, scope.settings, scope.site.msr_ca
    opts = scope.after(*placement.all)

    def props(file: str, data: pulumi.Input[str]) -> dict[str, Any]:
        return {"prefix": f"{name}_{file}", "data": data, "labels": scope.owner.labels(file)}

    def config_yml(http_secret: str) -> str:
        return registry_config.to_yaml(registry_config.render(settings, name, http_secret))

    http_secret = HttpSecret(f"{name}-http.secret", opts)
    config = SwarmConfig(f"{name}-config.yml", props("config.yml", http_secret.value.apply(config_yml)), opts)
    contents = {"cache.cert.pem": certificate.served, "cache.key.pem": certificate.key}
    if msr_ca:
        contents = {registry_config.ca_file(settings): msr_ca.pem, **contents}
    secrets = {file: SwarmSecret(f"{name}-{file}-file", props(file, data), opts) for file, data in contents.items()}
    return Files(config, secrets)
