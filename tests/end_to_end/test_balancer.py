"""Two replicas on two nodes behind a load balancer: clients know its port alone, and notice no change of the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.client import PullError
from lab.process import Process
from lab.site import Site
from tests.end_to_end.background import clients_during
from tests.end_to_end.conftest import two_nodes
from tests.end_to_end.howto import block, config
from tests.end_to_end.stack import CACHE, KEY, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

ATTEMPTS = 5
GAVE_UP = "gave up"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from two_nodes(tmp_path_factory.mktemp("balancer"))


@pytest.fixture
def balancer(site: Site, tmp_path: Path) -> Iterator[Process]:
    """Give HAProxy, which passes TLS through from 443 to each node's 8443."""
    text = block("docs/storage.md", "Behind a load balancer", "haproxy")
    text = text.replace("bind :443", f"bind {site.network.host_address}:443")
    for number, node in enumerate(site.engines, start=1):
        text = text.replace(f"10.0.0.{number}:", f"{node.address}:")
    (tmp_path / "haproxy.cfg").write_text(text)
    process = Process(tmp_path / "haproxy.pid", tmp_path / "haproxy.log")
    process.start("/usr/sbin/haproxy", "-db", "-f", tmp_path / "haproxy.cfg")
    yield process
    process.stop(grace=0)


def pair(stack: Stack, **changes: object) -> None:
    """Configure two replicas, one a node, that clients reach by the balancer."""
    cache = config("docs/storage.md", "Behind a load balancer")["caches"][CACHE]
    del cache["volume"]  # NFS needs a module that the lab's kernel lacks
    here = {"fqdn": stack.site.network.host_address, "nodes": [node.name for node in stack.site.engines]}
    local_ca = config("docs/certificates.md", "Use one CA for all caches")["caches"][CACHE]
    stack.configure({**cache, **here, "verify": "tls", "tls": {**KEY, **local_ca["tls"]}, **changes})


def change_setting(stack: Stack) -> None:
    pair(stack, blobTtl="36h")
    stack.deploy()


def renew_certificate(stack: Stack) -> None:
    pair(stack, tls={**KEY, "source": "localCa", "validityDays": 99})
    stack.deploy()


def lose_node(stack: Stack) -> None:
    """Cut the power of the worker, and give it back."""
    worker = stack.site.engines[1]
    worker.kill()
    time.sleep(5)
    worker.launch()
    stack.site.engine.wait()


def pulls_during(stack: Stack, *events: Callable[[Stack], None]) -> list[str]:
    """Pull with 8 clients, 200 times or as long as the events take; return why attempts failed, and a last line if a
    pull failed in the end: Docker tries a layer five times (dockerd, --max-download-attempts).
    """
    outputs, failed = stack.outputs(), list[str]()

    def pull() -> None:
        for _ in range(ATTEMPTS):
            try:
                stack.pull_as(outputs)
            except PullError as error:
                failed.append(str(error))
            else:
                return
        failed.append(GAVE_UP)

    clients_during(pull, lambda: [event(stack) for event in events])
    return failed


@pytest.mark.usefixtures("balancer")
def test_no_pull_fails_while_a_setting_is_changed_the_certificate_renewed_and_a_node_lost(
    stack: Stack, swarm: Swarm, record_property: Callable[[str, object], None]
) -> None:
    pair(stack)
    stack.deploy()
    stack.must(stack.preview(expect_no_changes=True))
    assert stack.outputs()["cacheUrl"] == f"https://{stack.site.network.host_address}"
    update = swarm.inspect("service", f"{CACHE}_cache")["Spec"]["UpdateConfig"]
    assert (update["Order"], update["Parallelism"]) == ("stop-first", 1)
    failed = pulls_during(stack, change_setting, renew_certificate, lose_node)
    record_property("attempts that failed", len(failed))
    assert GAVE_UP not in failed, failed


def test_a_balancer_that_is_down_is_told_though_each_node_serves(stack: Stack, balancer: Process) -> None:
    balancer.stop(grace=0)
    pair(stack)
    run = stack.up()
    assert not run.ok
    assert f"cache {CACHE} at https://{stack.site.network.host_address}: port 443 is closed" in run.words
    assert "Traceback" not in run.text
