"""Programs run, fail and end under Pulumi's CLI in the same way, whichever language host there is."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lab.process import wait_until
from tests.lab.pulumi.conftest import Project

pytestmark = pytest.mark.engine


def test_a_program_gets_its_config_and_what_it_exports_is_kept(project: Project) -> None:
    (project.folder / "beside.py").write_text("WORD = 'beside'")
    project.write(
        "import pulumi, sys, beside\nhidden = 'no output'\n"
        "config = pulumi.Config()\n"
        "pulumi.export('plain', config.require_object('map')['a'])\n"
        "pulumi.export('secret', config.require_secret('token'))\n"
        "pulumi.export('where', [pulumi.get_project(), pulumi.get_stack(), beside.WORD, sys.argv])\n"
        "print('printed by the program')\n"
    )
    project.run("config", "set", "--path", "map.a", "1").check_returncode()
    project.run("config", "set", "--secret", "token", "hunter2").check_returncode()
    up = project.run("up", "--yes", "--skip-preview")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "printed by the program" in up.stdout
    assert "hunter2" not in up.stdout + up.stderr
    told = json.loads(project.run("stack", "output", "--json", "--show-secrets").stdout)
    assert told == {"plain": 1, "secret": "hunter2", "where": ["small", "s", "beside", ["."]]}


@pytest.mark.parametrize(
    ("body", "told", "not_told"),
    [
        ("import pulumi\nraise pulumi.RunError('one\\ntwo')", ["error: one\n", "two\n"], ["Traceback"]),
        (
            "def broken():\n    raise ValueError('it broke')\nbroken()",
            ["error: Program failed with an unhandled exception:\n", "in broken\n", "ValueError: it broke\n"],
            ["runpy", "run_in_stack"],
        ),
        ("import sys\nsys.exit(3)", ["program exited with non-zero exit code: 3\n"], ["Traceback"]),
        (
            "import asyncio, os, signal\nasyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)\n",
            ["program exited with non-zero exit code"],
            ["Traceback", "KeyboardInterrupt"],
        ),
    ],
    ids=["a RunError", "an exception", "an exit code", "an interrupt"],
)
def test_a_program_that_fails_says_why_and_shows_no_more_than_its_own_code(
    project: Project, body: str, told: list[str], not_told: list[str]
) -> None:
    project.write(body)
    text = project.fails("preview")
    assert [part for part in told if part not in text] == []
    assert [part for part in not_told if part in text] == []


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
def test_a_program_ends_with_the_run_that_is_interrupted_or_killed(project: Project, ended_by: signal.Signals) -> None:
    started = project.folder / "started"
    project.write(f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    run = project.start("preview")
    wait_until(lambda: started.exists() and started.read_text(), "the program was not started")
    run.send_signal(ended_by)
    run.communicate(timeout=60)
    program = Path(f"/proc/{started.read_text()}")
    wait_until(lambda: not program.exists(), "the program outlives the run")
