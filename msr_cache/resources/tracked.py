"""Works around the SDK's pickler, which wraps itself once more for each dynamic resource.

pulumi/sdk/python/lib/pulumi/dynamic/dynamic.py: `serialize_provider` patches pickle._Pickler and restores only its
name. Each call takes longer than the one before, and the 320th fails with a RecursionError.
"""

from pulumi import CustomResource, ResourceOptions
from pulumi.dynamic import Resource
from pulumi.dynamic.dynamic import PROVIDER_KEY, serialize_provider

from msr_cache.resources.provider import Props, SwarmProvider


class Tracked(Resource):
    """Base of our dynamic resources: like the SDK's, but serializes each provider class once per run."""

    def __init__(self, provider: SwarmProvider, name: str, props: Props, opts: ResourceOptions | None = None) -> None:
        kind = type(provider)
        if kind not in _serialized:
            _serialized[kind] = serialize_provider(provider)
        inputs = {**props, PROVIDER_KEY: _serialized[kind]}
        CustomResource.__init__(self, f"pulumi-python:{self._resource_type_name}", name, inputs, opts)


_serialized: dict[type[SwarmProvider], str] = {}
