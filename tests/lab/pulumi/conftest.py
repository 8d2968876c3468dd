"""A project of one program and one stack, and Pulumi's commands on it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Project:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "state").mkdir()
        (self.folder / ".venv").symlink_to(sys.prefix)
        (self.folder / "Pulumi.yaml").write_text(
            "name: small\nruntime: {name: python, options: {toolchain: pip, virtualenv: .venv}}\n"
        )
        self.environment = os.environ | {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": "p",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_STACK": "s",
        }
        self.run("stack", "init", "s").check_returncode()

    def write(self, program: str) -> None:
        (self.folder / "__main__.py").write_text(program)

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = ["pulumi", *words, "--non-interactive", "--color=never"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, error = process.communicate(timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def fails(self, *words: str) -> str:
        """Run a command that must fail; return what it prints, each line without its indentation."""
        run = self.run(*words)
        assert run.returncode != 0, run.stdout
        return "".join(f"{line.strip()}\n" for line in (run.stdout + run.stderr).splitlines())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
