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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--both-engines", action="store_true", help="scenarios on Pulumi's engine and on the lab's")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    engines = ["Pulumi's own engine"] if HAS_PULUMI else []
    if config.getoption("both_engines") or not HAS_PULUMI:
        engines.append("the lab's rehearsal engine")
    left_out = "" if HAS_PULUMI else "; NOT on Pulumi's own: pulumi is not on PATH"
    terminalreporter.write_line(f"End-to-end scenarios run on {' and '.join(engines)}{left_out}.")
