"""The commands and the configuration of the how-tos, as README and docs/ have them."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from subprocess import PIPE, STDOUT
from typing import Any

import yaml

from tests.end_to_end.stack import CHECKOUT, Run, Stack, operations

MACHINE = "changes what the machine of the tests trusts"
LEFT_OUT = {
    "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt": "the tests have this environment",
    "sudo cp asia.crt /usr/local/share/ca-certificates/asia.crt && sudo update-ca-certificates": MACHINE,
    "sudo cp asia.crt /etc/pki/ca-trust/source/anchors/asia.crt && sudo update-ca-trust": MACHINE,
}
"""The commands that no scenario types, and why."""

CONFIG_LEFT_OUT = {
    ("docs/storage.md", "Keep blobs in a volume"): "NFS needs a module that the lab's kernel lacks",
    ("docs/sites.md", "With Pulumi ESC"): "no backend but Pulumi Cloud has it; test_cache_defaults.py merges the two",
    ("docs/reference.md", "`msr-cache:cacheDefaults`"): "test_cache_defaults.py merges such maps",
}
"""The pages and headings whose configuration no scenario uses, and why."""


def section(page: str, heading: str) -> str:
    """Return what stands below a heading of a page, up to the next one."""
    _, found, after = (CHECKOUT / page).read_text().partition(f"# {heading}\n")
    assert found, f"{page} has no heading {heading}"
    return re.split(r"^##+ ", after, maxsplit=1, flags=re.MULTILINE)[0]


def lines_to_type(text: str) -> list[str]:
    """Return the lines of a text that its reader types, each without the comment at its end."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"  +# .*", "", line[2:]) for line in lines if line.startswith(("$ ", "> "))]


def commands(page: str, heading: str) -> list[str]:
    """Return the lines that a page has its reader type below a heading."""
    return [line for line in lines_to_type(section(page, heading)) if line not in LEFT_OUT]


def block(page: str, heading: str, language: str) -> str:
    """Return the first block of a language below a heading."""
    return str(re.findall(rf"```{language}\n(.*?)```", section(page, heading), re.DOTALL)[0])


def config(page: str, heading: str) -> dict[str, Any]:
    """Return the first piece of a stack's configuration below a heading, without the project's name in its keys."""
    found = yaml.safe_load(block(page, heading, "yaml"))
    return {key.removeprefix("msr-cache:"): value for key, value in found.get("config", found).items()}


def follow(stack: Stack, lines: list[str], here: Mapping[str, str] | None = None, stdin: str = "") -> Run:
    """Run lines in the stack's folder, as a shell script that ends at the first failure; `here` has what differs here.

    Pulumi asks for no confirmation, and takes the selected stack; its `up` makes no preview first. What Pulumi did is
    that of its last command. Docker's client reaches the site's manager.
    """
    script = "\n".join(lines)
    for theirs, ours in (here or {}).items():
        assert theirs in script, f"no {theirs} in {script}"
        script = script.replace(theirs, ours)
    log = stack.folder / "events.log"
    log.unlink(missing_ok=True)
    options = {
        "YES": "true",
        "SKIP_PREVIEW": "true",
        "NON_INTERACTIVE": "true",
        "COLOR": "never",
        "EVENT_LOG": str(log),
    }
    environment = os.environ | stack.environment | {f"PULUMI_OPTION_{name}": value for name, value in options.items()}
    environment["DOCKER_HOST"] = stack.site.engine.docker_host
    del environment["PULUMI_STACK"]
    shell = ["bash", "-eu", "-o", "pipefail", "-c", script]
    started = time.monotonic()
    answer = subprocess.run(
        shell, cwd=stack.folder, env=environment, input=stdin, stdout=PIPE, stderr=STDOUT, text=True, check=False
    )
    seconds = time.monotonic() - started
    stack.printed.append(answer.stdout)
    return Run(answer.returncode == 0, answer.stdout, operations(log), seconds)


def typed(stack: Stack, lines: list[str], here: Mapping[str, str] | None = None, stdin: str = "") -> Run:
    """Run lines, which must succeed."""
    return stack.must(follow(stack, lines, here, stdin))
