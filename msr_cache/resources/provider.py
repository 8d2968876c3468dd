"""The base of the dynamic resources: how they reach the swarm, when they update, and errors that you can read."""

import threading
from typing import Any, ClassVar

from pulumi.dynamic import ConfigureRequest, DiffResult, ReadResult, ResourceProvider, UpdateResult
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.resources import plain_refusals
from msr_cache.swarm.manager import Manager, address_from_json

Props = dict[str, Any]


def is_unknown(value: object) -> bool:
    """Whether a preview does not know `value` yet (the SDK shows that in two ways)."""
    return isinstance(value, Unknown) or value == rpc.UNKNOWN


def unchanged(olds: Props, news: Props, *keys: str) -> bool:
    """Whether an earlier run, if there was one, saw the same values; the engine drops what is None."""
    return bool(olds) and all(olds.get(key) == news.get(key) for key in keys)


class SwarmProvider(ResourceProvider):
    """Base of our providers. Stateless: the engine stores it by reference to module and class.

    Raise a Refusal that begins with the config key, in `check` too: the engine prints it as it is, but puts
    'property ... value {...} has a problem' before the reason of a CheckFailure.
    """

    serialize_as_secret_always = False
    updates_on: ClassVar[tuple[str, ...]] = ()
    """The properties whose change updates the resource in place."""
    replaces_on: ClassVar[tuple[str, ...]] = ()
    """The properties whose change replaces it."""
    shows_changes: ClassVar[bool] = False
    """Whether the engine compares the inputs: it prints only those that differ, but misses what `read` has found."""

    def __getstate__(self) -> dict[str, Any]:
        """Keep nothing in the stack's state."""
        return {}

    def configure(self, req: ConfigureRequest) -> None:
        """Read the swarm's address from the config, so that a moved manager changes no resource.

        `refresh` and `destroy` pass the config of the last `up`, unless run with --run-program.
        """
        plain_refusals.install()
        self._swarm_config = req.config.get("swarm"), req.config.get("imageRegistries")
        self._local = threading.local()

    @property
    def manager(self) -> Manager:
        """The swarm's manager, one for each thread: threads must not share an HTTP session."""
        if not hasattr(self._local, "manager"):
            self._local.manager = Manager(address_from_json(*self._swarm_config))
        manager: Manager = self._local.manager
        return manager

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        replaces = [key for key in self.replaces_on if not unchanged(olds, news, key)]
        changes = bool(replaces) or not unchanged(olds, news, *self.updates_on)
        return DiffResult(changes=None if changes and self.shows_changes else changes, replaces=replaces)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(news)

    def read_object(self, path: str, id_: str, props: Props) -> ReadResult:
        """Read an object that can't drift: only one that the manager says it does not have counts as gone."""
        return ReadResult(None, {}) if self.manager.find(path) is None else ReadResult(id_, props)
