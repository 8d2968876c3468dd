"""The id of a stack's state: random, created first, and a label of all that the stack makes in the swarm.

Project, stack and cache may have the same names in another backend, or after a state is lost; the id differs.
"""

import secrets

import pulumi
from pulumi.dynamic import CreateResult, DiffResult

from msr_cache.resources.provider import Props, SwarmProvider
from msr_cache.resources.tracked import Tracked


class StateIdProvider(SwarmProvider):
    """Keeps 12 hexadecimal digits. The first is a letter: Pulumi's config takes other ids for numbers."""

    def create(self, props: Props) -> CreateResult:
        made = secrets.choice("abcdef") + secrets.token_hex(6)[1:]
        return CreateResult("state", {**props, "value": props.get("value") or made})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Keep the id, unless the config gives another one."""
        return DiffResult(changes=news.get("value") not in (None, olds["value"]))


class StateId(Tracked, provider=StateIdProvider):
    """The state's id: the `value` that is given, or a random one."""

    value: pulumi.Output[str]
