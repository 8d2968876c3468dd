"""What somebody changes in MSR by hand is seen by `preview --refresh` and repaired by `up --refresh`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from lab.msr_api import ACCESS_TOKENS, ADMIN
from lab.site import Site
from tests.end_to_end.conftest import lifetime
from tests.end_to_end.msr import MsrPage, register, url_of, without_msr
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm
from tests.end_to_end.test_settled import openssl_sha256

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"
USERS = {"users": ["alice", ADMIN]}


@pytest.fixture(scope="module")
def registered(site: Site, tmp_path_factory: pytest.TempPathFactory, plugins: str) -> Iterator[Stack]:
    """One cache for all drifts: each is repaired before the next."""
    stack = Stack(tmp_path_factory.mktemp("registered") / "stack", site, plugins)
    for given in lifetime(stack):
        register(stack, USERS, secret=ACCESS_TOKENS[ADMIN], kind="token")
        stack.deploy()
        yield given
    MsrPage(site).clear()


def status(stack: Stack) -> tuple[int, dict[str, Any], str]:
    """Return the command's exit code, what it tells a monitor of the cache, and the table for people."""
    answers = [stack.run_command("status", *options) for options in ((), ("--json",))]
    assert {answer.stderr for answer in answers} == {""}
    assert len({answer.returncode for answer in answers}) == 1
    return answers[0].returncode, json.loads(answers[1].stdout)[CACHE], answers[0].stdout


def test_the_status_of_a_cache_that_serves_needs_no_operator(registered: Stack) -> None:
    code, found, table = status(registered)
    assert (code, found["problems"]) == (0, [])
    expires = registered.outputs()["caches"][CACHE]["certificateExpires"][:10]
    node = registered.site.engine.name
    assert [re.split("  +", line) for line in table.splitlines()] == [
        ["CACHE", "TASKS", "NODES", "CERTIFICATE", "MSR CA", "MSR ENTRY"],
        [CACHE, "1/1", node, f"until {expires}", "as trusted", "2/2 accounts"],
    ]


def test_the_status_names_a_certificate_that_expires_and_a_task_that_is_down(registered: Stack, swarm: Swarm) -> None:
    expires = registered.outputs()["caches"][CACHE]["certificateExpires"][:10]
    config = registered.config_file.read_text()
    in_file = yaml.safe_load(config)
    in_file["config"]["msr-cache:caches"][CACHE]["tls"] = {"validityDays": 1000, "renewDays": 900}
    registered.config_file.write_text(yaml.safe_dump(in_file))
    swarm.docker("service", "scale", f"{SERVICE}=0")
    try:
        code, found, table = status(registered)
    finally:
        registered.config_file.write_text(config)
        registered.deploy(refresh=True)
    assert code == 1
    assert found["tasks"] == "0/1"
    assert found["problems"] == [
        f"0 of 1 tasks run: see docker service ps {SERVICE}",
        f"the certificate expires on {expires}: run pulumi up, which makes a new one",
    ]
    assert [line.removeprefix(f"{CACHE}: ") for line in table.splitlines()[2:]] == found["problems"]
    assert status(registered)[0] == 0


def change_all(page: MsrPage) -> None:
    page.edit(page.only_id(), name="other", host="https://elsewhere")
    page.point("alice", "")


def remove_entry(page: MsrPage) -> None:
    page.remove(page.only_id())


DRIFTS: dict[Callable[[MsrPage], None], set[str]] = {
    change_all: {"Registration", "CacheUser"},
    remove_entry: {"Registration"},
}


def test_each_drift_in_msr_is_seen_and_repaired(registered: Stack) -> None:
    page = MsrPage(registered.site)
    for change, changed in DRIFTS.items():
        change(page)
        shown = registered.must(registered.preview(refresh=True))
        assert changed <= shown.changed(), shown.text
        code, found, _ = status(registered)
        assert code == 1
        assert "MSR" in "".join(found["problems"])
        registered.deploy(refresh=True)
        assert page.caches() == {page.only_id(): {"name": CACHE, "host": url_of(registered)}}
        assert page.points_at("alice") == page.points_at(ADMIN) == page.only_id()
    registered.must(registered.preview(refresh=True, expect_no_changes=True))


def test_while_msr_is_down_the_swarm_of_a_registered_cache_is_repaired_all_the_same(
    registered: Stack, swarm: Swarm
) -> None:
    before = swarm.inspect("service", SERVICE)["Spec"]
    # The lab's cache does not start while its MSR is down, so nothing that restarts it.
    swarm.docker("service", "update", "--detach", "--label-add", "com.docker.stack.namespace=other", SERVICE)
    with without_msr(registered):
        run = registered.deploy(refresh=True)
    why = f"warning: MSR at {registered.site.msr.url} can't be reached"
    (told,) = (line for line in run.words.splitlines() if why in line)  # one, for the entry and the account
    assert told.endswith("The last refresh kept what the state has, unchecked")
    assert swarm.inspect("service", SERVICE)["Spec"] == before
    registered.deploy(refresh=True)
    registered.must(registered.preview(refresh=True, expect_no_changes=True))


def test_a_rotated_ca_of_msr_reaches_the_registration(registered: Stack) -> None:
    registered.site.msr.rotate_ca()
    pin = openssl_sha256(registered.site.msr.ca_pem())
    registered.ask("config", "set", "--path", "msr-cache:msr.ca.sha256", pin)
    registered.deploy()
    page = MsrPage(registered.site)
    page.remove(page.only_id())
    assert "Registration" in registered.must(registered.preview(refresh=True)).changed()
    registered.deploy(refresh=True)
