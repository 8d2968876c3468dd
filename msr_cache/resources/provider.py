"""What all our dynamic resources share: how they reach the swarm, and errors that an operator can read."""

from __future__ import annotations

import sys
import threading
import traceback
from types import SimpleNamespace
from typing import Any

from pulumi import CustomResource, ResourceOptions
from pulumi.dynamic import ConfigureRequest, Resource, ResourceProvider
from pulumi.dynamic.dynamic import PROVIDER_KEY, serialize_provider
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.short_lived import collect_no_garbage
from msr_cache.swarm.manager import Manager, address_from_json

Props = dict[str, Any]


def is_unknown(value: object) -> bool:
    """Whether a preview does not know `value` yet (the SDK shows that in two ways)."""
    return isinstance(value, Unknown) or value == rpc.UNKNOWN


def _fit_the_host() -> None:
    """Let the SDK's plugin host answer a Refusal with its text alone, and end at once when the engine ends it.

    The host (pulumi.dynamic.__main__) sends `traceback.format_exc()` for whatever a provider raises.
    """
    host = sys.modules.get("__main__")

    def text_of_current_exception() -> str:
        error = sys.exc_info()[1]
        return str(error) if isinstance(error, Refusal) else traceback.format_exc()

    if getattr(host, "traceback", None) is traceback:
        host.traceback = SimpleNamespace(format_exc=text_of_current_exception)  # type: ignore[union-attr]
        collect_no_garbage()


class SwarmProvider(ResourceProvider):
    """Base of our providers. Stateless: the engine stores it by reference to module and class.

    What is wrong is a Refusal that begins with its config key, in `check` too: the engine prints it as it is, but a
    CheckFailure's reason behind "property ... value {...} has a problem".
    """

    serialize_as_secret_always = False

    def __getstate__(self) -> dict[str, Any]:
        """Keep nothing in the stack's state."""
        return {}

    def configure(self, req: ConfigureRequest) -> None:
        """Read the swarm's address from the config, so that a moved manager changes no resource.

        `refresh` and `destroy` hand over the config of the last `up`, unless run with --run-program.
        """
        _fit_the_host()
        self._swarm_config = req.config.get("swarm")
        self._local = threading.local()

    @property
    def manager(self) -> Manager:
        """The swarm's manager, by a connection of this thread's own: an HTTP session is not made for sharing."""
        if not hasattr(self._local, "manager"):
            self._local.manager = Manager(address_from_json(self._swarm_config))
        manager: Manager = self._local.manager
        return manager


class Tracked(Resource):
    """Base of our dynamic resources: as the SDK's, but each provider class is serialized once in a run.

    The SDK serializes for each resource, and each time wraps the pickler once more: that takes ever longer, and a
    stack of some hundred caches would end in a RecursionError.
    """

    def __init__(self, provider: SwarmProvider, name: str, props: Props, opts: ResourceOptions | None = None) -> None:
        kind = type(provider)
        if kind not in _serialized:
            _serialized[kind] = serialize_provider(provider)
        inputs = {**props, PROVIDER_KEY: _serialized[kind]}
        CustomResource.__init__(self, f"pulumi-python:{self._resource_type_name}", name, inputs, opts)


_serialized: dict[type[SwarmProvider], str] = {}


def unchanged(olds: Props, news: Props, *keys: str) -> bool:
    """Whether an earlier run, if there was one, has seen the same values; the engine drops what is None."""
    return bool(olds) and all(olds.get(key) == news.get(key) for key in keys)
