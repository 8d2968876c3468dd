"""MSR's CA is trusted when first seen or by a pin; another one is shown, and trusted only when a pin names it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.authority import issue
from lab.client import PullError
from tests.end_to_end.stack import CACHE, CHECKOUT, Stack
from tests.end_to_end.swarm import Swarm
from tests.end_to_end.test_settled import openssl_sha256

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def test_another_ca_is_refused_by_a_pin_shown_when_remembered_and_trusted_when_a_pin_names_it(
    stack: Stack, swarm: Swarm
) -> None:
    nothing = swarm.listing()
    old = openssl_sha256(stack.site.msr.ca_pem())
    other = issue("Somebody else's CA", address=stack.site.msr.address, dns_name="msr.lab.test").ca
    foreign = openssl_sha256(other)
    with man_in_the_middle(stack, other):
        stack.configure(msr={"url": stack.site.msr.url, "ca": {"sha256": old}})
        run = stack.preview()
        assert not run.ok
        assert re.search(rf"msr\.ca\.sha256: found OU=[^,]*,O=Somebody else's CA \(SHA-256 {foreign}", run.text)
        assert f"expected {old}" in run.text
        assert "Traceback" not in run.text
        assert swarm.listing() == nothing
    stack.configure()
    stack.deploy()
    before = swarm.listing()
    with man_in_the_middle(stack, other):
        shown = stack.must(stack.preview(refresh=True, expect_no_changes=True))
        assert f"found SHA-256 {foreign}, expected {old}" in shown.words
    stack.site.msr.rotate_ca()
    new = openssl_sha256(stack.site.msr.ca_pem())
    shown = stack.deploy(refresh=True)
    assert f"found SHA-256 {new}, expected {old}" in shown.words
    assert swarm.listing() == before
    assert stack.outputs()["caches"][CACHE]["msrCaSha256"] == old
    with pytest.raises(PullError):
        stack.pull()
    pin_as_the_command_says(stack)
    assert {"MsrCa", "SwarmSecret", "Service"} <= stack.deploy().changed()
    assert stack.outputs()["caches"][CACHE]["msrCaSha256"] == new
    assert stack.pull().blobs
    shown = stack.must(stack.preview(refresh=True, expect_no_changes=True))
    assert "another CA" not in shown.words


@contextmanager
def man_in_the_middle(stack: Stack, ca_pem: str) -> Iterator[None]:
    """Somebody answers at /ca in MSR's place."""
    own = stack.site.msr.ca_pem()
    stack.site.msr.show(ca_pem)
    try:
        yield
    finally:
        stack.site.msr.show(own)


def pin_as_the_command_says(stack: Stack) -> None:
    """Run what `python -m msr_cache ca` prints."""
    command = [sys.executable, "-m", "msr_cache", "ca", stack.site.msr.url]
    shown = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in shown.splitlines() if line.startswith("pulumi ")]
    assert len(lines) == 2
    for line in lines:
        stack.ask(*shlex.split(line)[1:])
