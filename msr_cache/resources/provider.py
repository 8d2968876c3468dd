"""What all our dynamic resources share: how they reach the swarm, and errors that an operator can read."""

from __future__ import annotations

import threading
from typing import Any

from pulumi.dynamic import ConfigureRequest, ResourceProvider
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.resources import plain_refusals
from msr_cache.swarm.manager import Manager, address_from_json

Props = dict[str, Any]


def is_unknown(value: object) -> bool:
    """Whether a preview does not know `value` yet (the SDK shows that in two ways)."""
    return isinstance(value, Unknown) or value == rpc.UNKNOWN


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
        plain_refusals.install()
        self._swarm_config = req.config.get("swarm")
        self._local = threading.local()

    @property
    def manager(self) -> Manager:
        """The swarm's manager, by a connection of this thread's own: an HTTP session is not made for sharing."""
        if not hasattr(self._local, "manager"):
            self._local.manager = Manager(address_from_json(self._swarm_config))
        manager: Manager = self._local.manager
        return manager


def unchanged(olds: Props, news: Props, *keys: str) -> bool:
    """Whether an earlier run, if there was one, has seen the same values; the engine drops what is None."""
    return bool(olds) and all(olds.get(key) == news.get(key) for key in keys)
