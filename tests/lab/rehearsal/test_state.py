"""A stack's state holds no secret in clear, belongs to one run at a time, and survives a run's sudden end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import time

import pytest
import yaml

from lab.rehearsal.project import Crypter
from tests.lab.rehearsal.program import Program

SECRETS = """
token = pulumi.Config().require_secret("token")
a = File("a", token)
b = File("b", a.made, plain="seen", inner={"deep": [1, pulumi.Output.secret("deep secret")]})
pulumi.export("token", token)
pulumi.export("key", a.key)
pulumi.export("open", b.made)
"""


def test_no_secret_is_in_clear_in_the_state_or_in_what_is_printed(program: Program) -> None:
    program.write(SECRETS)
    program.run("preview")  # it gives the stack its salt
    config = program.folder / "Pulumi.s.yaml"
    salt = yaml.safe_load(config.read_text())["encryptionsalt"]
    sealed = Crypter(salt, program.passphrase).encrypt("t0ken")
    config.write_text(f"{config.read_text()}config:\n  small:token: {{secure: '{sealed}'}}\n")
    runs = [program.must("up", "--yes"), program.must("preview", "--diff"), program.must("stack", "output", "--json")]
    runs.append(program.must("stack", "export"))
    seen = [program.state_file.read_text(), *(run.text for run in runs)]
    for secret in ("t0ken", "deep secret", "a key of 256 bits", program.passphrase):
        assert not [text for text in seen if secret in text]
    assert '"seen"' in program.state_file.read_text()
    assert stat.S_IMODE(program.state_file.stat().st_mode) == 0o600
    assert '"token": "t0ken"' in program.must("stack", "output", "--json", "--show-secrets").text
    assert program.must("stack", "output", "open").out.strip() == "made b"


def test_a_wrong_passphrase_is_said_so_and_changes_nothing(program: Program) -> None:
    program.up('File("a", 1)')
    before = program.state_file.read_bytes()
    program.passphrase = "another"
    for words in (["preview"], ["up", "--yes"], ["refresh"], ["destroy", "--yes"], ["stack", "output"]):
        run = program.run(*words)
        assert run.code
        assert "incorrect passphrase" in run.text
        assert "Traceback" not in run.text
    assert program.state_file.read_bytes() == before
    assert program.world() == {"a": 1}


def test_a_second_run_refuses_and_says_who_holds_the_lock_and_a_killed_one_holds_none(program: Program) -> None:
    program.write('File("a", 1)')
    program.extra["SLOW"] = "30"
    holder = subprocess.Popen(
        program.command("up", "--yes"), cwd=program.folder, env=program.environment, stdout=subprocess.DEVNULL
    )
    wait_for(program.state_file.exists)
    second = program.run("up", "--yes")
    assert second.code
    assert f"locked by another run: pid {holder.pid}, user {os.environ.get('USER', 'root')}, since 2" in second.text
    holder.kill()
    holder.wait()
    program.extra["SLOW"] = "0"
    assert "was interrupted while creating urn:" in program.must("up", "--yes").text
    assert "interrupted" not in program.must("up", "--yes").text


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


MANY = "\n".join(f'f{n} = File("f{n}", {"1" if n < 3 else f"f{n - 3}.made"})' for n in range(9))


@pytest.mark.parametrize("command", ["up", "destroy"])
def test_a_run_killed_at_any_of_ten_points_is_completed_by_the_next(program: Program, command: str) -> None:
    dice = random.Random(command)  # noqa: S311 - the same points at each run
    program.up(MANY)
    complete = program.world()
    if command == "up":
        program.must("destroy", "--yes")
    folders = [program.folder / name for name in ("state", "world")]
    for folder in folders:
        shutil.copytree(folder, f"{folder}.before")
    for _ in range(10):
        for folder in folders:
            shutil.rmtree(folder)
            shutil.copytree(f"{folder}.before", folder)
        program.extra["SLOW"] = "0.05"
        run = subprocess.Popen(
            program.command(command, "--yes", *(["--skip-preview"] if command == "up" else [])),
            cwd=program.folder,
            env=program.environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(dice.uniform(0.4, 1.1))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        program.extra["SLOW"] = "0"
        program.must(command, "--yes")
        assert program.world() == (complete if command == "up" else {})
    if command == "up":
        assert program.must("preview", "--expect-no-changes").operations() == []


def test_changes_of_outputs_that_a_run_had_no_time_to_make_are_made_by_the_next(program: Program) -> None:
    program.up('pulumi.export("told", File("a", 1).made)')
    program.write('pulumi.export("told", File("a", 1, broken="it", file="z").made)')
    assert program.run("up", "--yes").code
    assert program.must("stack", "output", "told").out.strip() == "made a"
    program.up('pulumi.export("told", File("a", 1, file="z").made)')
    assert program.must("stack", "output", "told").out.strip() == "made z"
    assert program.world() == {"z": 1}
