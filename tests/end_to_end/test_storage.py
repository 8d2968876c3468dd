"""A cache's blobs outlive its tasks, its node and its service: what it has stored it serves without MSR."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from lab.engine import Engine
from lab.process import Process, wait_until
from lab.site import Site
from msr_cache.https import Client
from tests.conftest import BIN
from tests.end_to_end.conftest import two_nodes
from tests.end_to_end.howto import commands, config, typed
from tests.end_to_end.msr import without_msr
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

BUCKET, S3_PORT = "layers", 5055
Configure = Callable[[Engine], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from two_nodes(tmp_path_factory.mktemp("storage"))


@pytest.fixture
def volume(stack: Stack, tmp_path: Path) -> Configure:
    """Keep the blobs in a volume that leads to a folder which both nodes have, as one of a file server."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    driver = {"name": "local", "options": {"type": "none", "o": "bind", "device": str(folder)}}
    return lambda node: stack.configure({"nodes": [node.name], "volume": {"driver": driver}})


@pytest.fixture
def s3(site: Site, tmp_path: Path) -> Iterator[Process]:
    """Give moto's S3 server, with a bucket."""
    server = Process(tmp_path / "s3.pid", tmp_path / "s3.log")
    server.start(BIN / "moto_server", "--host", site.network.host_address, "--port", str(S3_PORT))
    url = f"http://{site.network.host_address}:{S3_PORT}/{BUCKET}"
    wait_until(lambda: reached(url), f"S3 does not answer: see {server.log}")
    yield server
    server.stop()


@pytest.fixture
def bucket(stack: Stack, s3: Process) -> Configure:
    """Keep them in the bucket."""
    assert s3.pid()
    url = f"http://{stack.site.network.host_address}:{S3_PORT}"
    storage = config("docs/storage.md", "Keep blobs in an object store")["caches"][CACHE]["storage"]
    storage["s3"] |= {"regionendpoint": url, "secure": False}
    # So that a test need not wait for three failures at intervals of ten seconds.
    often = {"health": {"storagedriver": {"interval": "1s"}}}

    def configure(node: Engine) -> None:
        stack.configure({"nodes": [node.name], "storage": storage, "registryConfig": often})
        for line in commands("docs/storage.md", "Keep blobs in an object store"):
            stack.given.add(secret := f"the {line.rpartition('.')[2]} of the bucket")
            typed(stack, [line], stdin=secret)

    return configure


def reached(bucket: str) -> bool:
    """Whether S3 has made the bucket."""
    with suppress(requests.ConnectionError):
        return requests.put(bucket, timeout=5).ok
    return False


def kill_task(node: Engine, swarm: Swarm) -> None:
    """End the cache's task on the node, and wait until another one serves."""
    before = swarm.task_ids(f"{CACHE}_cache")
    with closing(node.client()) as docker:
        (container,) = docker.containers.list()
        container.kill()
    words = ("service", "ps", f"{CACHE}_cache", "--filter", "desired-state=running", "--format", "{{.CurrentState}}")
    wait_until(lambda: swarm.task_ids(f"{CACHE}_cache") != before, "the task is not replaced")
    wait_until(lambda: swarm.docker(*words).startswith("Running"), "no other task runs")


@pytest.mark.parametrize("storage", ["volume", "bucket"])
def test_layers_are_served_without_msr_after_the_task_the_node_and_the_service_were_replaced(
    stack: Stack, swarm: Swarm, storage: str, request: pytest.FixtureRequest
) -> None:
    configure: Configure = request.getfixturevalue(storage)
    first, second = stack.site.engines
    configure(first)
    stack.deploy()
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    pulled = stack.pull()
    stack.site.msr.wait_until_quiet()
    asked = len(stack.site.msr.requests())

    kill_task(first, swarm)
    configure(second)
    stack.deploy()
    gone = stack.must(stack.destroy())
    assert storage == "bucket" or "the cache's blobs stay in" in gone.text
    stack.deploy()
    with without_msr(stack):
        assert stack.pull_as(stack.outputs(), address=second.address).blobs == pulled.blobs
    assert not [line for line in stack.site.msr.requests()[asked:] if line.startswith("GET") and "/blobs/" in line]


def test_blobs_that_were_stored_before_a_restart_still_expire(stack: Stack, swarm: Swarm, tmp_path: Path) -> None:
    """docs/storage.md: the registry keeps the times in the storage; here they are brought forward by a week."""
    node = stack.site.engine
    stack.configure({"nodes": [node.name], "volume": {"bind": str(tmp_path)}})
    stack.deploy()
    digests = [digest.removeprefix("sha256:") for digest in stack.pull().blobs]
    stored = [tmp_path / f"docker/registry/v2/blobs/sha256/{hex_[:2]}/{hex_}/data" for hex_ in digests]
    times = tmp_path / "scheduler-state.json"
    wait_until(lambda: times.exists() and all(hex_ in times.read_text() for hex_ in digests), "not saved")
    assert all(path.exists() for path in stored)
    times.write_text(re.sub(r'(?<="ExpiryData":)"[^"]*"', '"2020-01-01T00:00:00Z"', times.read_text()))
    kill_task(node, swarm)
    wait_until(lambda: not any(path.exists() for path in stored), "the blobs stay")


def test_a_cache_whose_bucket_is_away_answers_503_so_that_a_balancer_goes_elsewhere(
    stack: Stack, bucket: Configure, s3: Process
) -> None:
    cache = Client(f"https://{stack.site.engine.address}:{PORT}", None, verify=False)

    def status() -> int:
        return cache.ask("GET", "/", {}).status

    bucket(stack.site.engine)
    stack.deploy()
    assert status() == HTTPStatus.OK
    s3.stop()
    wait_until(lambda: status() == HTTPStatus.SERVICE_UNAVAILABLE, "it still answers as if all were well")
