"""What ends with the run never looks for garbage, not even at its end."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from msr_cache.short_lived import collect_no_garbage

class Garbage:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("found")

{}
Garbage()
"""


@pytest.mark.parametrize(("call", "found"), [("", "found\n"), ("collect_no_garbage()", "")])
def test_garbage_is_left_where_it_lies(call: str, found: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call)], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == found
