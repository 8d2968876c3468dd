"""Two replicas on two nodes behind a load balancer: clients know its port alone, and notice no change of the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.client import PullError
from lab.process import Process
from lab.site import Site
from tests.end_to_end.background import clients_during
from tests.end_to_end.conftest import two_nodes
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

ATTEMPTS = 5
GAVE_UP = "gave up"
PORT = 8443
# A check that a cache with a broken store does not pass, and a client that a server refuses goes on to the other one.
HAPROXY = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    retries 3
    option redispatch 1
    option httpchk GET /
    default-server check check-ssl verify none inter 500ms fall 2 rise 1
listen cache
    bind {address}:443
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from two_nodes(tmp_path_factory.mktemp("balancer"))


@pytest.fixture
def balancer(site: Site, tmp_path: Path) -> Iterator[Process]:
    """Give HAProxy, which passes TLS through from 443 to each node's 8443."""
    servers = "".join(f"    server {node.name} {node.address}:{PORT}\n" for node in site.engines)
    config = tmp_path / "haproxy.cfg"
    config.write_text(HAPROXY.format(address=site.network.host_address) + servers)
    process = Process(tmp_path / "haproxy.pid", tmp_path / "haproxy.log")
    process.start("/usr/sbin/haproxy", "-db", "-f", config)
    yield process
    process.stop(grace=0)


def pair(stack: Stack, **changes: object) -> None:
    """Configure two replicas, one a node, that clients reach by the balancer."""
    nodes = [node.name for node in stack.site.engines]
    here = {"fqdn": stack.site.network.host_address, "port": PORT, "externalPort": 443, "verify": "tls"}
    stack.configure(
        {"nodes": nodes, "replicas": 2, "maxReplicasPerNode": 1, "tls": {"source": "localCa"}, **here, **changes}
    )


def change_setting(stack: Stack) -> None:
    pair(stack, blobTtl="36h")
    stack.deploy()


def renew_certificate(stack: Stack) -> None:
    pair(stack, tls={"source": "localCa", "validityDays": 99})
    stack.deploy()


def lose_node(stack: Stack) -> None:
    """Cut the power of the worker, and give it back."""
    worker = stack.site.engines[1]
    worker.kill()
    time.sleep(5)
    worker.launch()
    stack.site.engine.wait()


EVENTS = (change_setting, renew_certificate, lose_node)


def pulls_during(stack: Stack, event: Callable[[Stack], None]) -> list[str]:
    """Pull with 8 clients, 200 times or as long as the event takes; return why attempts failed, and a last line if a
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

    clients_during(pull, partial(event, stack))
    return failed


@pytest.mark.timeout(600)
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
    for event in EVENTS:
        failed = pulls_during(stack, event)
        record_property(f"attempts that failed: {event.__name__}", len(failed))
        assert GAVE_UP not in failed, failed


def test_a_balancer_that_is_down_is_told_though_each_node_serves(stack: Stack, balancer: Process) -> None:
    balancer.stop(grace=0)
    pair(stack)
    run = stack.up()
    assert not run.ok
    assert f"cache {CACHE} at https://{stack.site.network.host_address}: port 443 is closed" in run.words
    assert "Traceback" not in run.text
