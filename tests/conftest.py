"""What all tests share: one site, and a summary that says whether the real engine ran."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from lab.site import Site

HAS_ENGINE = shutil.which("pulumi") is not None


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the tests' own site, beside the lab."""
    started = Site.start(tmp_path_factory.mktemp("site"))
    yield started
    started.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("engine") and not HAS_ENGINE:
            item.add_marker(pytest.mark.skip(reason="Pulumi's CLI is not on PATH"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    what = "ran on the real engine" if HAS_ENGINE else "did NOT run on the real engine: pulumi is not on PATH"
    terminalreporter.write_line(f"End-to-end tests {what}.")
