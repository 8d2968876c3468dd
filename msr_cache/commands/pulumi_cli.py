"""The selected stack's config and outputs, as the `pulumi` command gives them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from msr_cache.config.validation import read
from msr_cache.refusal import Refusal

PROJECT = "msr-cache"


def config(stack: str | None) -> dict[str, Any]:
    """Return the stack's config below the project's name, secrets decrypted, right or wrong."""
    return read({key: each["value"] for key, each in _ask(stack, "config", "--show-secrets").items()}, PROJECT)


def outputs(stack: str | None) -> dict[str, Any]:
    """Return the stack's outputs of its last `up`."""
    return _ask(stack, "stack", "output")


def _ask(stack: str | None, *command: str) -> dict[str, Any]:
    words = ["pulumi", *command, "--json", *(("--stack", stack) if stack else ())]
    try:
        run = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refusal(f"pulumi can't be run ({error.strerror}): install it, and put it on PATH") from None
    if run.returncode:
        raise Refusal(f"{' '.join(words)} failed: {run.stderr.strip()}")
    found: dict[str, Any] = json.loads(run.stdout)
    return found
