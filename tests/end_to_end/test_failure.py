"""A deployment that fails says why, never stops a cache that serves, and is mended by the next `up`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.client import PullError
from tests.end_to_end.background import repeatedly
from tests.end_to_end.stack import CACHE, PORT, Run, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

LONGEST = 60
"""Seconds until a failing `up` must have said why."""


@contextmanager
def port_taken(stack: Stack, port: int) -> Iterator[None]:
    """Another service publishes `port` on the node."""
    swarm = Swarm(stack.site)
    publish = f"mode=host,target=1,published={port}"
    command = ("busybox", "sleep", "1000")
    swarm.docker(
        "service",
        "create",
        "--name",
        "other",
        "--stop-grace-period",
        "0s",
        "--publish",
        publish,
        stack.site.cache_image,
        *command,
    )
    try:
        yield
    finally:
        swarm.docker("service", "rm", "other")


@contextmanager
def serving(stack: Stack) -> Iterator[None]:
    """Pull through the cache without a pause; not one pull may fail."""
    failed: list[str] = []
    pulled: list[float] = []
    outputs = stack.outputs()

    def pull() -> None:
        try:
            pulled.append(stack.pull_as(outputs).seconds)
        except PullError as error:
            failed.append(str(error))

    with repeatedly(pull, every=0):
        yield
    assert not failed
    assert len(pulled) > 3


def must_fail(run: Run, *words: str) -> None:
    assert not run.ok
    assert run.seconds < LONGEST
    for word in words:
        assert word in run.text
    assert "Traceback" not in run.text


BAD: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "no such tag": (
        {"image": "{images}:no-such-tag"},
        ("error: msr-cache:caches.asia.image: image ", "no-such-tag can't be resolved to a digest"),
    ),
    "no such digest": (
        {"image": f"{{images}}@sha256:{'0' * 64}"},
        ("No such image", "check `image`"),
    ),
    "crashes": ({"image": "{images}:crash"}, ("non-zero exit (3)", "start.sh: config broken")),
    "storage without credentials": (
        {"storage": {"s3": {"region": "eu-central-1", "bucket": "nope"}}},
        (
            "failed: task: non-zero exit (2)\n    panic: s3aws: NoCredentialProviders: ",
            "what to do: the cache has no credentials for the S3 bucket: set `storage.s3.accesskey`",
            "the whole log: /",
        ),
    ),
    # What no schema can know.
    "a file that the container does not have": (
        {"registryConfig": {"http": {"tls": {"certificate": "/run/secrets/none.pem"}}}},
        ("non-zero exit", "/run/secrets/none.pem: no such file"),
    ),
    "no node has that much memory": (
        {"resources": {"reservations": {"memory": "900g"}}},
        ("insufficient resources", "resources.reservations"),
    ),
}


def settings(stack: Stack, bad: dict[str, object]) -> dict[str, object]:
    images = stack.site.cache_image.rpartition(":")[0]
    return {key: value.format(images=images) if isinstance(value, str) else value for key, value in bad.items()}


@pytest.mark.parametrize("case", ["no such tag", "crashes", "no node has that much memory"])
def test_a_first_up_that_fails_says_why_and_the_next_one_recovers(stack: Stack, case: str) -> None:
    bad, words = BAD[case]
    stack.configure(settings(stack, bad))
    must_fail(stack.up(), *words)
    stack.configure()
    stack.deploy()
    assert stack.pull().blobs
    stack.must(stack.preview(expect_no_changes=True))


@pytest.mark.parametrize("deployed_before", [False, True])
def test_a_taken_port_is_named_and_the_next_up_recovers(stack: Stack, deployed_before: bool) -> None:
    if deployed_before:
        stack.deploy()
    stack.configure({"port": PORT + 1})
    with port_taken(stack, PORT + 1):
        run = stack.up()
        must_fail(run, "host-mode port already in use", "choose another `port`")
        if deployed_before:
            assert stack.pull_as({"caches": {CACHE: stack.outputs()["caches"][CACHE]}}, port=PORT).blobs
    stack.deploy()
    assert stack.pull().blobs


NODES: dict[str, tuple[Callable[[Swarm], object], str]] = {
    "drained": (
        lambda swarm: swarm.docker("node", "update", "--availability", "drain", swarm.site.engine.name),
        "error: msr-cache:caches.asia.nodes: node worker-1 is set to drain",
    ),
    "missing": (
        lambda _: None,
        "error: msr-cache:caches.asia.nodes: node worker-77 is not in the swarm, expected one of: worker-1",
    ),
}


@pytest.mark.parametrize("case", NODES)
def test_a_node_that_can_run_no_cache_is_named_before_anything_is_changed(
    stack: Stack, swarm: Swarm, case: str
) -> None:
    change, words = NODES[case]
    if case == "missing":
        stack.configure({"nodes": ["worker-77"]})
    before = swarm.listing()
    change(swarm)
    try:
        must_fail(stack.preview(), words)
        must_fail(stack.up(), words)
    finally:
        swarm.docker("node", "update", "--availability", "active", swarm.site.engine.name)
    assert swarm.listing() == before


CHANGES = ["no such digest", "storage without credentials", "a file that the container does not have"]


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_fails_says_why_while_the_old_cache_serves_on(deployed: Stack, swarm: Swarm, case: str) -> None:
    bad, words = BAD[case]
    task = swarm.task_ids(f"{CACHE}_cache")
    deployed.configure(settings(deployed, bad))
    with serving(deployed):
        must_fail(deployed.up(), *words)
    assert swarm.task_ids(f"{CACHE}_cache") == task
    deployed.configure()
    assert "rolling restart" not in deployed.must(deployed.preview()).text
    deployed.deploy()
    assert swarm.task_ids(f"{CACHE}_cache") == task
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))


def test_an_msr_that_is_down_is_named_and_the_whole_log_is_kept(deployed: Stack) -> None:
    url = deployed.site.msr.url
    deployed.configure({"blobTtl": "36h"})
    deployed.site.msr.stop()
    try:
        run = deployed.up()
    finally:
        deployed.site.msr.start()
    must_fail(
        run, f'\n    panic: Get "{url}/v2/": dial tcp ', f"what to do: the cache can't reach MSR at {url}: check "
    )
    assert ".go:" not in run.text
    (file,) = re.findall(r"the whole log: (\S+)", run.text)
    assert "goroutine 1 [running]:" in Path(file).read_text()
    deployed.deploy()


def test_a_node_that_lost_its_label_is_named_and_refresh_recovers(deployed: Stack, swarm: Swarm) -> None:
    swarm.docker("node", "update", "--label-rm", "dtr.cache", deployed.site.engine.name)
    deployed.configure({"blobTtl": "36h"})
    must_fail(deployed.up(), "scheduling constraints not satisfied", "no node carries the label")
    deployed.deploy(refresh=True)
    assert deployed.pull().blobs


def test_a_replacement_of_the_service_is_refused_while_it_serves(deployed: Stack, swarm: Swarm) -> None:
    """By itself, Pulumi would remove the service without a trial of the new one."""
    before = swarm.inspect("service", f"{CACHE}_cache"), swarm.task_ids(f"{CACHE}_cache")
    (urn,) = (each["urn"] for each in deployed.resources() if each["type"].endswith(":Service"))
    for run in (deployed.preview("--replace", urn), *(deployed.up(f, urn) for f in ("--replace", "--target-replace"))):
        must_fail(run, "error: the cache's service can't be replaced, because the cache would be off meanwhile")
    assert (swarm.inspect("service", f"{CACHE}_cache"), swarm.task_ids(f"{CACHE}_cache")) == before
    assert not deployed.deploy().operations


@pytest.mark.parametrize("kind", ["NodeLabel", "Rollout"])
def test_a_replacement_by_the_same_leaves_the_cache_serving(deployed: Stack, kind: str) -> None:
    (urn,) = (each["urn"] for each in deployed.resources() if each["type"].endswith(f":{kind}"))
    deployed.must(deployed.up("--replace", urn))
    assert deployed.pull().blobs
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))
