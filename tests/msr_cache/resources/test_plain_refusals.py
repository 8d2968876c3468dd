"""The SDK's plugin host sends a Refusal's text alone, as long as it sends tracebacks by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pulumi.dynamic


def test_a_host_process_tells_a_refusal_without_its_traceback_and_a_bug_with_it() -> None:
    """pulumi.dynamic.__main__ answers with `traceback.format_exc()` whatever a provider raises."""
    host = """
import json, traceback
from msr_cache.refusal import Refusal
from msr_cache.resources import provider
from msr_cache.resources.http_secret import HttpSecretProvider
from tests.msr_cache.conftest import NOWHERE, configured

configured(HttpSecretProvider(), NOWHERE)
told = []
for error in (Refusal("node a is down"), KeyError("bug")):
    try:
        raise error
    except Exception:
        told.append(traceback.format_exc())
print(json.dumps(told))
"""
    done = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, timeout=20, check=True)
    refusal, bug = json.loads(done.stdout)
    assert refusal == "node a is down"
    assert bug.startswith("Traceback")


def test_the_sdks_host_still_sends_tracebacks_without_which_this_module_can_go() -> None:
    host = Path(pulumi.dynamic.__file__).with_name("__main__.py").read_text()
    assert "context.abort(grpc.StatusCode.UNKNOWN, traceback.format_exc())" in host
