"""What all tests share: one site, and a summary that says what of Pulumi's the scenarios ran on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from lab.site import Site

BIN = Path(sys.prefix) / "bin"
# Last, as make has it, for whoever runs pytest itself.
os.environ["PATH"] += f"{os.pathsep}{BIN}"

# A shell lets what it runs in the background, and whatever that starts, ignore interrupts: many tests send one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `thorough` is for a run by hand (CONTRIBUTING.md); `quick` gives the same inputs each time, so that a failure is news.
settings.register_profile("quick", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=10_000, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the tests' own site, beside the lab."""
    started = Site.start(tmp_path_factory.mktemp("site"))
    yield started
    started.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--both-plugins", action="store_true", help="scenarios on installed plugins, and on the stand-ins")
    parser.addoption("--nothing-left-out", action="store_true", help="fail if no Pulumi ran, or not all of the README")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest modules, each of which one process runs: at the end, all the others would wait for it."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def left_out(passed: Sequence[pytest.TestReport], skipped: Sequence[pytest.TestReport]) -> list[str]:
    """What a run left out though a change may break it."""
    pulumi = [] if any("engine" in report.keywords for report in passed) else ["all that runs Pulumi"]
    return pulumi + [report.nodeid for report in skipped if "test_commands.py" in report.nodeid]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("nothing_left_out") or reporter is None:
        return
    if missing := left_out(reporter.getreports("passed"), reporter.getreports("skipped")):
        reporter.write_line(f"\nLeft out, which --nothing-left-out forbids: {', '.join(missing)}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    pulumi = shutil.which("pulumi")
    version = subprocess.run([pulumi, "version"], capture_output=True, text=True, check=True).stdout if pulumi else "no"
    plugins = "the lab's stand-ins for plugins" if stand_ins_only() else "the installed plugins"
    also = ", and once more on the lab's stand-ins" if config.getoption("both_plugins") else ""
    terminalreporter.write_line(f"End-to-end scenarios run on Pulumi {version.strip()} with {plugins}{also}.")


def stand_ins_only() -> bool:
    """Whether plugins can't be installed here: `make engine` has put stand-ins in their place."""
    found = shutil.which("pulumi-resource-docker")
    return found is not None and Path(found).parent == BIN
