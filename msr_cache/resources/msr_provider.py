"""The base of the resources in MSR: its API, with credentials that are never a resource's property."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

import pulumi
from pulumi.dynamic import ConfigureRequest, ReadResult

from msr_cache.msr.api import Credentials, Msr
from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider
from msr_cache.resources.tracked import Tracked


class MsrProvider(SwarmProvider):
    """Base of providers whose properties hold MSR's `url` and `ca` (PEM; absent: the operating system's CAs)."""

    def configure(self, req: ConfigureRequest) -> None:
        """Read the credentials from the config, so that a new password changes no resource."""
        super().configure(req)
        self._msr_config = req.config.get("msr")

    def msr(self, props: Props) -> Msr:
        """Return MSR with the `url` and `ca` of the properties."""
        return Msr(props["url"], props.get("ca"), Credentials.from_config(self._msr_config))


def read_or_keep(id_: str, props: Props, inputs: Iterable[str], current: Callable[[], Props | None]) -> ReadResult:
    """Return what `current` finds in MSR (None: it is gone); `inputs` are the keys that drift shows.

    If MSR can't be asked, keep `props` with the reason as `unchecked`: no reason to fail, because `up --refresh` must
    be able to repair the swarm meanwhile.
    """
    try:
        now, unchecked = current(), None
    except Refusal as error:
        now, unchecked = props, str(error)
    if now is None:
        return ReadResult(None, {})
    return ReadResult(id_, {**now, "unchecked": unchecked}, {key: now.get(key) for key in inputs})


class Remembered(Tracked):
    """Base of resources with `read_or_keep`: each run says, until the next refresh, why the last could not ask MSR."""

    unchecked: pulumi.Output[str | None]

    def __init__(self, name: str, props: Props, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, {**props, "unchecked": None}, opts)
        self.unchecked.apply(warn_unchecked)


def warn_unchecked(problem: str | None) -> None:
    """Say why the last refresh could not ask MSR, if it could not."""
    if problem:
        warn_once(problem, "The last refresh kept what the state has, unchecked")


def warn_once(problem: str, outcome: str) -> None:
    """Warn of what keeps MSR from being asked, whatever was asked: all caches and accounts meet the same."""
    _warn(f"{re.sub('^[A-Z]+ /[^ ]*: ', '', problem)}. {outcome}")


@functools.cache  # for a run: the program and the process of the providers end with it
def _warn(text: str) -> None:
    pulumi.log.warn(text)
