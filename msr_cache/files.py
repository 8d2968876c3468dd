"""The files that a cache's tasks mount, each a swarm secret: config.yml, too, holds http.secret and storage keys."""

import pulumi

from msr_cache.certificate import Certificate
from msr_cache.config import registry_config
from msr_cache.placement import Placement
from msr_cache.resources.http_secret import HttpSecret
from msr_cache.resources.swarm_file import SwarmSecret
from msr_cache.scope import Scope
from msr_cache.upstreams import Upstreams

Files = dict[str, SwarmSecret]
"""By the path in the container; without a slash, it is below /run/secrets. The names are MSR's documentation's."""


def declare(scope: Scope, certificate: Certificate, placement: Placement, upstreams: Upstreams) -> Files:
    """Declare HttpSecret, and one SwarmSecret for each file."""
    name, settings = scope.name, scope.settings
    opts = scope.after(*placement.all)

    def config_yml(http_secret: str) -> str:
        return registry_config.to_yaml(registry_config.render(settings, name, http_secret))

    http_secret = HttpSecret(f"{name}-http.secret", opts)
    contents: dict[str, pulumi.Input[str]] = {
        "/config.yml": http_secret.value.apply(config_yml),
        **upstreams.cas,
        **upstreams.roots,
        "cache.cert.pem": certificate.served,
        "cache.key.pem": certificate.key,
    }

    def secret(file: str, data: pulumi.Input[str]) -> SwarmSecret:
        # The operator's own passwords may be guessed; keys can't, and certificates are no secret.
        salt = http_secret.value if file == "config.yml" else None
        props = {"prefix": f"{name}_{file}", "data": data, "salt": salt, "labels": scope.owner.labels(file)}
        return SwarmSecret(f"{name}-{file}-file", props, opts)

    # By name, as pulumi-docker keeps them: a preview compares by position.
    return {path: secret(path.removeprefix("/"), data) for path, data in sorted(contents.items())}
