"""The registry's http.secret: random, the same for all replicas, created once and never changed."""

import secrets

import pulumi
from pulumi.dynamic import CreateResult

from msr_cache.resources.provider import Props, SwarmProvider
from msr_cache.resources.tracked import Tracked


class HttpSecretProvider(SwarmProvider):
    """Makes 256 random bits, written as 64 hexadecimal digits; the id reveals nothing of them."""

    def create(self, props: Props) -> CreateResult:
        return CreateResult("http.secret", {**props, "value": secrets.token_hex(32)})


class HttpSecret(Tracked, provider=HttpSecretProvider):
    """A cache's http.secret; `value` is a Pulumi secret."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["value"]))
        super().__init__(name, {}, opts)
