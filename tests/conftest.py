"""What all tests share: one site, and a summary that says whether the real engine ran."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from lab.site import Site

HAS_PULUMI = shutil.which("pulumi") is not None


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the tests' own site, beside the lab."""
    started = Site.start(tmp_path_factory.mktemp("site"))
    yield started
    started.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    on_pulumi = "on Pulumi's own engine" if HAS_PULUMI else "NOT on Pulumi's own engine (pulumi is not on PATH)"
    terminalreporter.write_line(f"End-to-end scenarios ran {on_pulumi}, and on the lab's rehearsal engine.")
