"""Stacks for the scenarios: each in a folder of its own, on one site, destroyed and searched for secrets at its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.site import Site
from tests.end_to_end.stack import INSTALLED, STAND_INS, Stack
from tests.end_to_end.swarm import Swarm


@pytest.fixture
def swarm(site: Site) -> Swarm:
    return Swarm(site)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "plugins" in metafunc.fixturenames and metafunc.config.getoption("both_plugins"):
        metafunc.parametrize("plugins", [INSTALLED, STAND_INS], indirect=True, scope="session")


@pytest.fixture(scope="session")
def plugins(request: pytest.FixtureRequest) -> str:
    """Give the kind of plugins that a stack uses; a machine without Pulumi fails here, and skips nothing."""
    assert shutil.which("pulumi"), "pulumi is not on PATH: run `make engine`"
    kind: str = getattr(request, "param", INSTALLED)
    return kind


@pytest.fixture
def stack(site: Site, tmp_path: Path, plugins: str) -> Iterator[Stack]:
    """Give a stack that is not deployed yet; at the end nothing of it may be left, and no secret have been seen."""
    yield from lifetime(Stack(tmp_path / "stack", site, plugins))


def two_nodes(folder: Path) -> Iterator[Site]:
    """Give a site of two nodes; a module's fixture `site` yields from it."""
    started = Site.start(folder)
    started.add_worker()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def shared(site: Site, tmp_path_factory: pytest.TempPathFactory, plugins: str) -> Iterator[Stack]:
    yield from lifetime(Stack(tmp_path_factory.mktemp("shared") / "stack", site, plugins))


@pytest.fixture
def deployed(shared: Stack) -> Stack:
    """Give the module's stack, deployed by its default config; tests that use `stack` come before those that do."""
    shared.configure()
    shared.keep_deployed()
    return shared


def lifetime(stack: Stack) -> Iterator[Stack]:
    before = Swarm(stack.site).listing()
    yield stack
    stack.end_orphans()
    seen = list(Swarm(stack.site).seen())
    stack.end()
    assert Swarm(stack.site).listing() == before
    secrets = stack.secrets()
    shown = [(where, secret[:8]) for where, text in (*seen, *stack.seen()) for secret in secrets if secret in text]
    assert not shown
