"""Works around the SDK's pickler, which wraps itself once more for each dynamic resource.

pulumi/sdk/python/lib/pulumi/dynamic/dynamic.py: `serialize_provider` patches pickle._Pickler and restores only its
name. Each call takes longer than the one before, and the 320th fails with a RecursionError.
"""

from inspect import get_annotations
from typing import ClassVar

from pulumi import CustomResource, ResourceOptions
from pulumi.dynamic import Resource
from pulumi.dynamic.dynamic import PROVIDER_KEY, serialize_provider

from msr_cache.resources.provider import Props, SwarmProvider


class Tracked(Resource):
    """Base of our dynamic resources: like the SDK's, but serializes each provider class once per run.

    A subclass names its `provider`, and annotates its outputs. States know it by the name of the class.
    """

    _provided_by: ClassVar[type[SwarmProvider]]

    def __init_subclass__(cls, provider: type[SwarmProvider] | None = None) -> None:
        super().__init_subclass__(module="msr", name=cls.__name__)
        if provider:
            cls._provided_by = provider

    def __init__(self, name: str, props: Props, opts: ResourceOptions | None = None) -> None:
        if self._provided_by not in _serialized:
            _serialized[self._provided_by] = serialize_provider(self._provided_by())
        outputs = dict.fromkeys(get_annotations(type(self)))
        inputs = {**outputs, **props, PROVIDER_KEY: _serialized[self._provided_by]}
        CustomResource.__init__(self, f"pulumi-python:{self._resource_type_name}", name, inputs, opts)


_serialized: dict[type[SwarmProvider], str] = {}
