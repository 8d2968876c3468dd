"""docs/sites.md, word for word: a second site's stack, and loops that go on after a site whose manager is away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.howto import commands, follow, typed
from tests.end_to_end.stack import CACHE, NAME, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SECOND = "sydney"


@pytest.fixture
def away(stack: Stack) -> Iterator[Stack]:
    """Give a stack whose manager is away; at the end, destroy the one that the how-to adds."""
    common = {key: stack.config()["caches"][CACHE].pop(key) for key in ("port", "publishMode", "image")}
    nowhere = f"unix://{stack.site.run}/nowhere.sock"
    stack.configure(swarm={"host": nowhere}, cacheDefaults=common)
    yield stack
    stack.ask("destroy", "--yes", "--remove", "--stack", SECOND)


def test_a_second_site_is_added_and_loops_go_on_after_one_that_is_away_and_name_it(away: Stack, swarm: Swarm) -> None:
    here = {
        "--stack asia": f"--stack {NAME}",
        "ssh://ops@manager.sydney.example.com": away.site.engine.docker_host,
        "worker-7": away.site.engine.name,
    }
    typed(away, commands("docs/sites.md", "Share settings"), here)
    task = swarm.task_ids(f"{SECOND}_cache")

    changed = follow(away, commands("docs/sites.md", "Change all sites"), {"sydney tokyo": f"{NAME} {SECOND}"})
    assert not changed.ok
    assert changed.text.endswith(f"failed: {NAME}\n")
    assert "msr-cache:swarm.host: found unix://" in changed.text
    assert "unchanged" in changed.text.rpartition("Updating")[2], "the one that is there, after the one that is not"
    assert swarm.task_ids(f"{SECOND}_cache") == task != set()

    shown = follow(away, commands("docs/sites.md", "See which sites need you"))
    assert not shown.ok
    assert shown.text.endswith(f"need you: {NAME}\n")
    assert shown.text.count(f"{SECOND}  1/1") == 2, "the selected stack, then each of all"
