"""Two replicas on two nodes: whatever rolls them, one of the two serves at any time; and moves between nodes."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from lab import images
from lab.engine import Engine
from lab.process import wait_until
from lab.site import Site
from tests.end_to_end.conftest import two_nodes
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.renewal import age, connecting, the_gap
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from two_nodes(tmp_path_factory.mktemp("two-nodes"))


def pair(stack: Stack, **changes: object) -> None:
    """Deploy two replicas that take three seconds from their start until they serve."""
    nodes = [node.name for node in stack.site.engines]
    stack.configure({"nodes": nodes, "replicas": 2, "image": stack.site.image(images.SLOW_TAG), **changes})
    stack.deploy()


def test_while_a_certificate_is_renewed_no_handshake_fails(
    shared: Stack, record_property: Callable[[str, object], None]
) -> None:
    pair(shared)
    old = shared.outputs()["caches"][CACHE]["certificatePem"]
    age(shared, days_left=29)
    addresses = [node.address for node in shared.site.engines]
    with connecting(*addresses) as seen, connecting(addresses[0]) as first, connecting(addresses[1]) as second:
        time.sleep(1)
        shared.deploy()
        time.sleep(1)
    new = shared.outputs()["caches"][CACHE]["certificatePem"]
    assert {one.served for one in seen} == {old.strip(), new.strip()}, [one for one in seen if one.error]
    gaps = [the_gap(one) for one in (first, second)]
    record_property("gaps_ms", [round(gap.seconds * 1000) for gap in gaps])
    assert all(any(one.error for one in seen_there) for seen_there in (first, second)), "each node did pause"


def running_on(swarm: Swarm) -> set[str]:
    """Return the names of the nodes that the cache's tasks run on."""
    words = ("--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}")
    lines = swarm.docker("service", "ps", f"{CACHE}_cache", *words).splitlines()
    return {line.split()[0] for line in lines if line.split()[1] == "Running"}


def placed(stack: Stack, swarm: Swarm) -> tuple[Engine, Engine]:
    """Let the cache run, with the default config, on one node, that where it is; return this node and the other."""
    there = running_on(swarm) if f"{CACHE}_cache" in swarm.names("service") else set()
    manager, worker = stack.site.engines
    serving, other = (worker, manager) if there == {worker.name} else (manager, worker)
    stack.configure({"nodes": [serving.name]})
    stack.keep_deployed()
    return serving, other


def test_a_move_to_another_node_is_over_when_up_says_so(
    shared: Stack, swarm: Swarm, record_property: Callable[[str, object], None]
) -> None:
    old, new = placed(shared, swarm)
    assert running_on(swarm) == {old.name}
    shared.configure({"nodes": [new.name]})
    with connecting(old.address, new.address) as seen:
        shared.deploy()
        assert running_on(swarm) == {new.name}
        time.sleep(1)
    shared.must(shared.preview(expect_no_changes=True))
    assert {node.name for node in shared.site.engines if "dtr.cache" in swarm.labels(node.name)} == {new.name}
    assert seen[-1].served
    assert seen[-1].address == new.address
    left = max(one.ended for one in seen if one.address == old.address and one.served)
    arrived = min(one.ended for one in seen if one.began > left and one.served)
    record_property("gap_ms", round((arrived - left) * 1000))


@contextmanager
def squatter(stack: Stack, swarm: Swarm, node: Engine) -> Iterator[None]:
    """Let another service take the cache's port on the node."""
    publish = ("--publish", f"mode=host,published={PORT},target=9", "--constraint", f"node.hostname=={node.name}")
    image = stack.site.image(images.SLOW_TAG)
    swarm.docker("service", "create", "--name=squatter", *publish, image, "/bin/sleep", "9999")
    try:
        yield
    finally:
        swarm.docker("service", "rm", "squatter")
    with closing(node.client()) as docker:
        wait_until(lambda: not docker.containers.list(), "the squatter stays")


def test_a_move_to_a_node_where_the_cache_would_not_run_is_refused_while_the_old_one_serves(
    shared: Stack, swarm: Swarm
) -> None:
    old, new = placed(shared, swarm)
    with squatter(shared, swarm, new):
        shared.configure({"nodes": [new.name]})
        with connecting(old.address) as seen:
            run = shared.up()
        assert not run.ok
        assert f"node {new.name} was not labelled: a trial task of service {CACHE}_cache did not run there" in run.words
        assert "host-mode port already in use" in run.words
        assert "Traceback" not in run.text
        assert not [one for one in seen if one.error]
        assert "dtr.cache" not in swarm.labels(new.name)
        assert running_on(swarm) == {old.name}
    shared.deploy()
    assert running_on(swarm) == {new.name}


@contextmanager
def down(swarm: Swarm, worker: Engine) -> Iterator[None]:
    worker.kill()
    wait_until(lambda: state(swarm, worker.name) == "down", f"{worker.name} stays up")
    try:
        yield
    finally:
        worker.launch()
        swarm.site.engine.wait()  # until it knows each node as ready; a worker itself does not know


def state(swarm: Swarm, node: str) -> str:
    return str(swarm.inspect("node", node)["Status"]["State"])


def test_the_node_that_serves_keeps_its_label_while_the_only_other_one_is_down(shared: Stack, swarm: Swarm) -> None:
    serving, other = shared.site.engines
    shared.configure({"nodes": [serving.name]})
    shared.keep_deployed()
    shared.configure({"nodes": [serving.name, other.name]})
    shared.deploy()
    assert running_on(swarm) == {serving.name}
    before = swarm.listing()
    with down(swarm, other), connecting(serving.address) as seen:
        shared.must(shared.preview(expect_no_changes=True))
        shared.configure({"nodes": [other.name]})
        for run in (shared.preview(), shared.up()):
            assert not run.ok
            told = f"found {other.name}, expected a node that can take the cache over from {serving.name}"
            assert f"error: msr-cache:caches.asia.nodes: {told}" in run.words
            assert "Traceback" not in run.text
        assert swarm.listing() == before
    assert not [one for one in seen if one.error]
    shared.deploy()
    assert running_on(swarm) == {other.name}


def test_the_node_that_serves_keeps_its_label_while_the_other_ones_port_is_taken(shared: Stack, swarm: Swarm) -> None:
    serving, other = placed(shared, swarm)
    shared.configure({"nodes": [serving.name, other.name]})
    shared.deploy()
    with squatter(shared, swarm, other):
        shared.configure({"nodes": [other.name]})
        with connecting(serving.address) as seen:
            run = shared.up()
        assert not run.ok
        told = f"node {serving.name} keeps its label, because node {other.name} can't take the cache over: a trial task"
        assert told in run.words
        assert "host-mode port already in use" in run.words
        assert "Traceback" not in run.text
        assert not [one for one in seen if one.error]
        assert running_on(swarm) == {serving.name}
    shared.deploy()
    assert running_on(swarm) == {other.name}


def test_an_interrupt_while_the_other_node_is_tried_removes_the_trial_and_moves_nothing(
    shared: Stack, swarm: Swarm
) -> None:
    serving, other = placed(shared, swarm)
    slow = {"image": shared.site.image(images.SLOW_TAG)}
    shared.configure({"nodes": [serving.name], **slow})
    shared.deploy()
    shared.configure({"nodes": [serving.name, other.name], **slow})
    shared.deploy()
    before = swarm.listing()
    shared.configure({"nodes": [other.name], **slow})
    trial = f"{CACHE}_cache-trial"
    assert shared.kill("up", lambda: any(name.startswith(trial) for name in swarm.names("service")), signal.SIGINT)
    assert swarm.listing() == before
    assert running_on(swarm) == {serving.name}
    shared.deploy()
    assert running_on(swarm) == {other.name}


def test_a_node_that_carries_the_label_by_hand_is_named_by_each_preview_until_it_does_not(
    shared: Stack, swarm: Swarm
) -> None:
    other = placed(shared, swarm)[1].name
    swarm.docker("node", "update", "--label-add", "dtr.cache=true", other)
    run = shared.preview(expect_no_changes=True)
    typed(shared, re.findall(r"docker node update --label-rm \S+ [-\w]+", run.text))
    assert f"warning: msr-cache:caches.asia.label: node {other}, which is not in `nodes`, has the label" in run.words
    assert "caches.asia.label" not in shared.must(shared.preview(expect_no_changes=True)).words


def reimage(swarm: Swarm, worker: Engine) -> str:
    """Let the worker join once more, with nothing on its disk; return the id of its old self, which is down."""
    old = str(swarm.inspect("node", worker.name)["ID"])
    worker.remove()
    wait_until(lambda: state(swarm, old) == "down", f"{worker.name} stays up")
    worker.start()
    token = swarm.docker("swarm", "join-token", "--quiet", "worker")
    address = worker.address
    with closing(worker.client()) as docker:
        docker.swarm.join([swarm.site.engine.address], token, advertise_addr=address, listen_addr=address)
    listing = ("node", "ls", "--format", "{{.Hostname}} {{.Status}}")
    wait_until(lambda: f"{worker.name} Ready" in swarm.docker(*listing).splitlines(), f"{worker.name} stays away")
    return old


def test_a_node_that_left_and_joined_again_under_its_name_gets_the_label_and_the_cache_back(
    shared: Stack, swarm: Swarm
) -> None:
    worker = shared.site.engines[1]
    shared.configure({"nodes": [worker.name]})
    shared.keep_deployed()
    old = reimage(swarm, worker)
    up, *rest = commands("docs/recover.md", "A node left the swarm and joined again")
    try:
        assert not running_on(swarm)
        typed(shared, [up])
        assert running_on(swarm) == {worker.name}
        shared.must(shared.preview(refresh=True, expect_no_changes=True))
    finally:
        listed = typed(shared, rest, {"ID": old}).text
    assert re.search(rf"^{old} +{worker.name} +Down", listed, re.MULTILINE)
    assert "dtr.cache" in swarm.labels(worker.name)
    shared.must(shared.preview(refresh=True, expect_no_changes=True))
