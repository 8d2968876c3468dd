"""A deployment that fails says why, never stops a cache that serves, and is repaired by the next `up`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import images
from lab.client import PullError
from msr_cache.rollout import convergence
from tests.end_to_end.background import repeatedly
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.msr import without_msr
from tests.end_to_end.renewal import connecting
from tests.end_to_end.stack import CACHE, PORT, Run, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

LONGEST = convergence.PATIENCE / 2
"""Seconds for an `up` that sees the cause, on a busy machine too: one that waits it out takes `PATIENCE`."""
SERVICE = f"{CACHE}_cache"


@contextmanager
def serving(stack: Stack) -> Iterator[None]:
    """Pull through the cache twice a second, and connect 20 times a second; neither may fail once."""
    failed: list[str] = []
    pulled: list[float] = []
    outputs = stack.outputs()

    def pull() -> None:
        try:
            pulled.append(stack.pull_as(outputs).seconds)
        except PullError as error:
            failed.append(str(error))

    with repeatedly(pull, every=0.5), connecting(stack.site.engine.address) as seen:
        yield
    assert not [*failed, *(each.error for each in seen if each.error)]
    assert len(pulled) > 3
    assert len(seen) > 20


@contextmanager
def serving_beside_another_service(stack: Stack) -> Iterator[None]:
    """As `serving`, while another service publishes the next port on the node."""
    swarm = Swarm(stack.site)
    published = ("--publish", f"mode=host,target=1,published={PORT + 1}", "--stop-grace-period", "0s")
    swarm.docker("service", "create", "--name", "other", *published, stack.site.cache_image, "busybox", "sleep", "1000")
    try:
        with serving(stack):
            yield
    finally:
        swarm.docker("service", "rm", "other")


def must_fail(run: Run, *words: str) -> None:
    assert not run.ok
    assert run.seconds < LONGEST
    for word in words:
        assert word in run.text
    assert "Traceback" not in run.text


class Bad(NamedTuple):
    """Settings of a cache, what is around the `up` that fails because of them, and what it says."""

    settings: dict[str, object]
    around: Callable[[Stack], AbstractContextManager[None]]
    words: tuple[str, ...]


def bad(stack: Stack) -> Iterator[Bad]:
    """Yield what no schema can know."""
    repository, msr = stack.site.cache_image.rpartition(":")[0], stack.site.msr.url
    yield Bad({"image": f"{repository}@sha256:{'0' * 64}"}, serving, ("No such image", "check `image`"))
    yield Bad(
        {"storage": {"s3": {"region": "eu-central-1", "bucket": "nope"}}},
        serving,
        (
            "failed: task: non-zero exit (2)\n    panic: s3aws: NoCredentialProviders: ",
            "what to do: the cache has no credentials for the S3 bucket: set `storage.s3.accesskey`",
        ),
    )
    yield Bad(
        {"registryConfig": {"http": {"tls": {"certificate": "/run/secrets/none.pem"}}}},
        serving,
        ("non-zero exit", "/run/secrets/none.pem: no such file"),
    )
    yield Bad(
        {"resources": {"reservations": {"memory": "900g"}}}, serving, ("insufficient resources", "resources.reserv")
    )
    yield Bad(
        {"port": PORT + 1},
        serving_beside_another_service,
        ("host-mode port already in use", "choose another `port`"),
    )
    yield Bad(
        {"volume": {"bind": "/srv/nowhere"}},
        serving,
        ("bind source path does not exist: /srv/nowhere", "create the folder on each of"),
    )
    # Without a client in the kernel "no such device", else "connection refused".
    yield Bad(
        {"volume": {"nfs": {"server": "127.0.0.1", "path": "/x"}}},
        serving,
        ("addr=127.0.0.1,nfsvers=4", "that each node reaches the server"),
    )
    yield Bad(
        {"blobTtl": "36h"},
        without_msr,
        (f'\n    panic: Get "{msr}/v2/": dial tcp ', f"what to do: the cache can't reach MSR at {msr}: check "),
    )


def test_a_first_up_that_fails_says_why_and_the_next_one_recovers(stack: Stack) -> None:
    stack.configure({"image": stack.site.image(images.CRASH_TAG)})
    must_fail(stack.up(), "non-zero exit (3)", "start.sh: config broken")
    stack.configure()
    stack.deploy()
    assert stack.pull().blobs
    stack.must(stack.preview(expect_no_changes=True))


def test_what_can_run_nowhere_is_named_before_anything_is_changed(stack: Stack, swarm: Swarm) -> None:
    refused: dict[str, dict[str, object]] = {
        "nodes: node worker-77 is not in the swarm, expected one of: worker-1": {"nodes": ["worker-77"]},
        "nodes: node worker-1 is set to drain": {},
        f"image: image {stack.site.image('no-such-tag')} can't be resolved to a digest": {
            "image": stack.site.image("no-such-tag")
        },
    }
    before = swarm.listing()
    for words, settings in refused.items():
        stack.configure(settings)
        swarm.docker("node", "update", "--availability", "active" if settings else "drain", swarm.site.engine.name)
        must_fail(stack.up(), f"error: msr-cache:caches.asia.{words}")
    assert swarm.listing() == before


def test_each_change_that_fails_says_why_while_the_old_cache_serves_on(deployed: Stack, swarm: Swarm) -> None:
    task = swarm.task_ids(SERVICE)
    for settings, around, words in bad(deployed):
        deployed.configure(settings)
        with around(deployed):
            run = deployed.up()
        must_fail(run, "was not changed: a trial task of the new settings did not run", *words)
        assert swarm.task_ids(SERVICE) == task
    assert ".go:" not in run.text
    (file,) = re.findall(r"the whole log: (\S+)", run.text)
    assert "goroutine 1 [running]:" in Path(file).read_text()
    deployed.configure()
    assert "rolling restart" not in deployed.must(deployed.preview()).text
    deployed.deploy()
    assert swarm.task_ids(SERVICE) == task
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))


def test_a_node_that_lost_its_label_is_named_and_refresh_recovers(deployed: Stack, swarm: Swarm) -> None:
    swarm.docker("node", "update", "--label-rm", "dtr.cache", deployed.site.engine.name)
    deployed.configure({"blobTtl": "36h"})
    must_fail(deployed.up(), "scheduling constraints not satisfied", "no node carries the label")
    typed(deployed, commands("docs/recover.md", "`up` fails because no node has the label"))
    assert deployed.pull().blobs


def test_a_replacement_of_the_service_is_refused_while_it_serves(deployed: Stack, swarm: Swarm) -> None:
    """By itself, Pulumi would remove the service without a trial of the new one."""
    before = swarm.inspect("service", SERVICE), swarm.task_ids(SERVICE)
    (urn,) = (each["urn"] for each in deployed.resources() if each["type"].endswith(":Service"))
    for run in (deployed.preview("--replace", urn), *(deployed.up(f, urn) for f in ("--replace", "--target-replace"))):
        must_fail(run, "error: the cache's service can't be replaced, because the cache would be off meanwhile")
    assert (swarm.inspect("service", SERVICE), swarm.task_ids(SERVICE)) == before
    assert not deployed.deploy().operations


def test_a_replacement_of_labels_and_rollout_by_the_same_leaves_the_cache_serving(deployed: Stack) -> None:
    for kind in ("NodeLabel", "Rollout"):
        (urn,) = (each["urn"] for each in deployed.resources() if each["type"].endswith(f":{kind}"))
        deployed.must(deployed.up("--replace", urn))
        assert deployed.pull().blobs
    deployed.must(deployed.preview(refresh=True, expect_no_changes=True))
