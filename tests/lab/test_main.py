"""The lab's commands, as somebody who tries the program types them."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest

from lab.__main__ import main
from lab.client import PullResult
from lab.site import Site

pytestmark = pytest.mark.swarm
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def lab(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Let the commands find the tests' site in the lab's place."""
    monkeypatch.setattr(Site, "find", lambda: site)
    return site


def test_msr_is_stopped_and_started_again_by_a_command(lab: Site) -> None:
    assert main(["stop", "msr"]) == 0
    assert not lab.msr.is_running()
    assert main(["start", "msr"]) == 0
    assert lab.msr.is_running()


def test_a_worker_joins_by_a_command_that_lists_all_nodes(
    lab: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The joining itself is a test of the site's: here it would slow the tests that share this one."""
    joined = [lab.engine]
    monkeypatch.setattr(Site, "add_worker", lambda site: joined.append(site._machine(2)))
    monkeypatch.setattr(Site, "engines", joined)
    assert main(["add", "worker"]) == 0
    printed = capsys.readouterr().out
    assert all(f"node:        {engine.name}, published ports on {engine.address}\n" in printed for engine in joined)
    assert "worker-2" in printed


def test_docker_trusts_msr_and_the_caches_after_one_command_and_pulls_as_it_says(
    lab: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = lab.msr.ca_pem()  # any certificate
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"asia": {"certificatePem": cache}})))
    assert main(["trust"]) == 0
    (pull,) = (
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("  docker") and " pull " in line
    )
    subprocess.run(pull, check=True, capture_output=True)
    subprocess.run([*pull[:3], "rmi", pull[-1]], check=True, capture_output=True)


def test_pull_prints_the_url_of_each_cache_and_pulls_through_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stack output cacheUrl, which is there for one cache only, is not needed."""
    urls = {name: f"https://cache.{name}.example.com" for name in ("asia", "europe")}
    caches = {name: {"url": url, "certificatePem": "PEM"} for name, url in urls.items()}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(caches)))
    monkeypatch.setattr("lab.__main__.pull", lambda *_: PullResult("sha256:0a", {"sha256:0b": 3}, 0.5))
    assert main(["pull"]) == 0
    printed = capsys.readouterr().out
    for name, url in urls.items():
        assert f"{url}\npulled {Site.app_repository}:{Site.app_tag}@sha256:0a through cache {name}\n" in printed
    assert "cacheUrl" not in (CHECKOUT / "Makefile").read_text()


@pytest.mark.parametrize("words", [["pull"], ["trust"]])
@pytest.mark.parametrize("given", ["", "[1]", "null"])
def test_a_stack_without_caches_is_one_line(
    words: list[str], given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert main(words) == 1
    assert capsys.readouterr().err == "lab: expected the caches on standard input: pulumi stack output --json caches\n"


@pytest.mark.parametrize("words", [["stop"], ["start", "cache"], ["halt"]])
def test_a_command_that_there_is_not_is_told_with_those_that_there_are(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "expected one of: up, down, status, add worker, pull, trust, stop msr, start msr" in capsys.readouterr().err
