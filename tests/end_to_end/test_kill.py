"""A run that is killed at any point is taken up by the next one: nothing twice, nothing left over."""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.end_to_end.howto import commands, typed
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def test_a_first_up_that_is_killed_at_its_first_secret_and_again_at_the_service_is_taken_up_by_the_next(
    stack: Stack, swarm: Swarm
) -> None:
    for kind in ("secret", "service"):
        assert stack.kill("up", partial(swarm.names, kind)), f"it ended before it was killed: {kind}"
        stack.unlock()
    typed(stack, commands("docs/recover.md", "`up` was killed"))
    converged(stack, swarm)


def test_an_update_that_is_killed_early_or_late_is_taken_up_by_the_next(deployed: Stack, swarm: Swarm) -> None:
    for seconds, blob_ttl in ((0.5, "36h"), (2.5, "48h")):
        deployed.configure({"blobTtl": blob_ttl})
        kill_update(deployed, swarm, seconds)
        typed(deployed, commands("docs/recover.md", "`up` was killed"))
        converged(deployed, swarm)


def kill_update(stack: Stack, swarm: Swarm, seconds: float) -> None:
    """Kill an `up` so long after the first sign of the change: a slow machine kills at the same points."""
    files = swarm.names("secret")
    first_sign: list[float] = []

    def now() -> bool:
        if not first_sign and swarm.names("secret") != files:
            first_sign.append(time.monotonic())
        return bool(first_sign) and time.monotonic() - first_sign[0] > seconds

    assert stack.kill("up", now), "it ended before it was killed"


def test_a_killed_destroy_is_taken_up_by_the_next(deployed: Stack, swarm: Swarm) -> None:
    assert deployed.kill("destroy", lambda: not swarm.names("service")), "it ended before it was killed"
    typed(deployed, commands("docs/recover.md", "`destroy` was killed"))
    assert not [name for each in ("service", "secret") for name in swarm.names(each)]
    assert swarm.labels() == {}


def converged(stack: Stack, swarm: Swarm) -> None:
    assert stack.pull().blobs
    assert swarm.names("service") == {f"{CACHE}_cache"}
    assert len(swarm.names("secret")) == 4
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
