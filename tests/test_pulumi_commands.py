"""Pulumi has each of its commands that the documentation names."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"(?:`|\$ |^ {4,})pulumi ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)


@functools.cache
def usage(*words: str) -> str:
    """Return what Pulumi's help calls a command, whichever alias it gets; of one that there is not, its group."""
    said = subprocess.run(["pulumi", *words, "--help"], capture_output=True, text=True, check=True).stdout
    return said.partition("Usage:\n")[2].split("\n")[0]


@pytest.mark.engine
def test_pulumi_has_each_command_that_the_documentation_names() -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").iterdir()]
    named = {found for page in pages for found in NAMED.findall(page.read_text())}
    assert ("state", "untaint") in named
    for command, word in named:
        assert usage(command) != usage(), command
        assert not word or command in {"up", "preview"} or usage(command, word) != usage(command), f"{command} {word}"
