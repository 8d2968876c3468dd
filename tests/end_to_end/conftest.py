"""Stacks for the scenarios: each in a folder of its own, on one site, destroyed and searched for secrets at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.site import Site
from tests.conftest import HAS_PULUMI
from tests.end_to_end.stack import Engine, RealEngine, RehearsalEngine, Stack
from tests.end_to_end.swarm import Swarm


@pytest.fixture
def swarm(site: Site) -> Swarm:
    return Swarm(site)


ENGINES: dict[str, type[Engine]] = {"pulumi": RealEngine, "rehearsal": RehearsalEngine}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run scenarios on Pulumi's own engine where it is on PATH, else on the lab's; on both when asked to."""
    if "engine" in metafunc.fixturenames:
        names = list(ENGINES) if metafunc.config.getoption("both_engines") else [("rehearsal", "pulumi")[HAS_PULUMI]]
        if metafunc.definition.get_closest_marker("pulumi_only"):
            names = ["pulumi"]
        metafunc.parametrize("engine", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "pulumi" and not HAS_PULUMI:
        pytest.skip("needs Pulumi's CLI, which is not on PATH")
    return ENGINES[request.param]()


@pytest.fixture
def stack(site: Site, tmp_path: Path, engine: Engine) -> Iterator[Stack]:
    """Give a stack that is not deployed yet; at the end nothing of it may be left, and no secret have been seen."""
    yield from lifetime(Stack(tmp_path / "stack", site, engine))


def lifetime(stack: Stack) -> Iterator[Stack]:
    before = Swarm(stack.site).listing()
    yield stack
    stack.end_orphans()
    secrets = stack.secrets()
    stack.must(stack.destroy())
    assert Swarm(stack.site).listing() == before
    shown = [(where, secret[:8]) for where, text in stack.seen() for secret in secrets if secret in text]
    assert not shown
