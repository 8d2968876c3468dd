"""A run that is killed at any point is taken up by the next one: nothing twice, nothing left over."""

from __future__ import annotations

import time

import pytest

from tests.end_to_end.howto import commands, typed
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

POINTS = ["label", "secret", "service", "task"]


def reached(swarm: Swarm, point: str) -> bool:
    match point:
        case "label":
            return "dtr.cache" in swarm.node()["Spec"]["Labels"]
        case "task":
            return bool(swarm.names("service")) and bool(swarm.task_ids(f"{CACHE}_cache"))
        case kind:
            return bool(swarm.names(kind))


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_first_up_is_taken_up_by_the_next(stack: Stack, swarm: Swarm, point: str) -> None:
    assert stack.kill("up", lambda: reached(swarm, point)), "it ended before it was killed"
    typed(stack, commands("docs/recover.md", "`up` was killed"))
    converged(stack, swarm)


@pytest.mark.parametrize("milliseconds", [500, 1500, 2500, 4000])
def test_a_killed_update_is_taken_up_by_the_next(deployed: Stack, swarm: Swarm, milliseconds: int) -> None:
    deployed.configure({"blobTtl": "36h"})
    files = swarm.names("secret")
    started = time.monotonic()
    # Timed from the first sign of the change, so that a slow machine kills at the same points.
    first_sign: list[float] = []

    def now() -> bool:
        if not first_sign and swarm.names("secret") != files:
            first_sign.append(time.monotonic())
        return (bool(first_sign) and time.monotonic() - first_sign[0] > milliseconds / 1000) or (
            time.monotonic() - started > 60
        )

    deployed.kill("up", now)
    typed(deployed, commands("docs/recover.md", "`up` was killed"))
    converged(deployed, swarm)


@pytest.mark.parametrize("kind", ["service", "secret"])
def test_a_killed_destroy_is_taken_up_by_the_next(deployed: Stack, swarm: Swarm, kind: str) -> None:
    full = swarm.names(kind)
    assert deployed.kill("destroy", lambda: swarm.names(kind) != full), "it ended before it was killed"
    typed(deployed, commands("docs/recover.md", "`destroy` was killed"))
    assert not [name for each in ("service", "secret") for name in swarm.names(each)]
    assert swarm.labels() == {}


def converged(stack: Stack, swarm: Swarm) -> None:
    assert stack.pull().blobs
    assert swarm.names("service") == {f"{CACHE}_cache"}
    assert len(swarm.names("secret")) == 4
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
