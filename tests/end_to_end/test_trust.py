"""MSR's CA is trusted when first seen or by a pin; another one is shown, and trusted only when a pin names it."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from lab.client import PullError
from tests.end_to_end.stack import CACHE, CHECKOUT, Stack
from tests.end_to_end.swarm import Swarm
from tests.end_to_end.test_settled import openssl_sha256

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def shown_by_command(stack: Stack) -> str:
    command = [sys.executable, "-m", "msr_cache", "ca", stack.site.msr_url]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


def pin_as_the_command_says(stack: Stack) -> None:
    (line,) = [line for line in shown_by_command(stack).splitlines() if line.startswith("pulumi ")]
    stack.ask(*shlex.split(line)[1:])


def test_a_man_in_the_middle_is_refused_by_a_pin_and_a_ca_is_pinned_by_one_command(stack: Stack, swarm: Swarm) -> None:
    before = swarm.listing()
    right = openssl_sha256(stack.site.msr_ca_pem())
    pin_as_the_command_says(stack)
    assert right in stack.config_file.read_text()
    stack.site.msr.misbehave("foreign-ca")
    try:
        run = stack.up()
        assert not run.ok
        assert "msr.ca.sha256: found CN=Somebody else's CA (SHA-256" in run.text
        assert f"allowed is {right}" in run.text
        assert "Traceback" not in run.text
        assert swarm.listing() == before
    finally:
        stack.site.msr.misbehave("none")
    stack.deploy()
    assert stack.pull().blobs
    stack.must(stack.preview(expect_no_changes=True))


def test_another_ca_is_shown_and_not_trusted_until_a_pin_names_it(stack: Stack, swarm: Swarm) -> None:
    stack.deploy()
    before = swarm.listing()
    old = openssl_sha256(stack.site.msr_ca_pem())
    stack.site.msr.misbehave("foreign-ca")
    foreign = openssl_sha256((stack.site.msr.folder / "foreign" / "ca.pem").read_text())
    try:
        shown = stack.must(stack.preview(refresh=True, expect_no_changes=True))
        assert f"remembered is SHA-256 {old}, seen was {foreign}" in shown.words
        stack.deploy(refresh=True)
        assert f"seen was {foreign}" in stack.must(stack.preview(expect_no_changes=True)).words
    finally:
        stack.site.msr.misbehave("none")
    stack.must(stack.refresh())
    assert "another CA" not in stack.must(stack.preview(expect_no_changes=True)).words
    stack.site.msr.rotate_ca()
    new = openssl_sha256(stack.site.msr_ca_pem())
    shown = stack.deploy(refresh=True)
    assert f"remembered is SHA-256 {old}, seen was {new}" in shown.words
    assert swarm.listing() == before
    assert stack.outputs()["caches"][CACHE]["msrCaSha256"] == old
    with pytest.raises(PullError):
        stack.pull()
    pin_as_the_command_says(stack)
    assert {"MsrCa", "SwarmSecret", "Service"} <= stack.deploy().changed()
    assert stack.outputs()["caches"][CACHE]["msrCaSha256"] == new
    assert stack.pull().blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.configure()
    stack.deploy()
    assert stack.outputs()["caches"][CACHE]["msrCaSha256"] == new, "a pin taken back does not forget"
