"""The commands of the how-tos in docs/, as they are written there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping

from tests.end_to_end.stack import CHECKOUT, Stack


def commands(page: str, heading: str) -> list[str]:
    """Return the lines that a page has its reader type below a heading."""
    text = (CHECKOUT / page).read_text()
    _, found, after = text.partition(f"# {heading}\n")
    assert found, f"{page} has no heading {heading}"
    section = re.split(r"^##+ ", after, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith(("$ ", "> "))]


def follow(
    stack: Stack, lines: list[str], here: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run lines in the stack's folder, as a shell script that ends at the first failure; `here` has what differs here.

    Pulumi asks for no confirmation, and takes the selected stack.
    """
    script = "\n".join(lines)
    for theirs, ours in here.items():
        assert theirs in script, f"no {theirs} in {script}"
        script = script.replace(theirs, ours)
    environment = os.environ | stack.environment | {"PULUMI_SKIP_CONFIRMATIONS": "true"}
    del environment["PULUMI_STACK"]
    shell = ["bash", "-eu", "-o", "pipefail", "-c", script]
    answer = subprocess.run(
        shell, cwd=stack.folder, env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    stack.printed += [answer.stdout, answer.stderr]
    return answer
