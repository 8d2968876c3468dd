"""Three caches in a row, each trusted by another kind of certificate: MSR serves each blob once, to the first."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lab import images
from tests.certificates import Made, make
from tests.end_to_end.msr import MsrPage
from tests.end_to_end.renewal import age
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

ROOT = make("Company root", ca=True)


@functools.cache
def of_top(address: str) -> Made:
    return ROOT.sign(address, sans=(address,))


def chain(stack: Stack, **middle: Any) -> None:
    """Configure leaf <- middle <- top, of which MSR knows the last."""
    address = stack.site.engine.address
    made = of_top(address)
    (stack.folder.parent / "top.key").write_text(made.key)
    provided = {
        "source": "provided",
        "certificate": made.pem,
        "ca": ROOT.pem,
        "key": str(stack.folder.parent / "top.key"),
    }
    caches: dict[str, Any] = {
        "leaf": {"upstreams": [{"cache": "middle"}], "tls": {"source": "localCa"}, "verify": "tls"},
        "middle": {"upstreams": [{"cache": "top"}], "verify": "tls", **middle},
        "top": {"tls": provided},
    }
    first = stack.config()["caches"][CACHE]
    for number, (name, cache) in enumerate(caches.items()):
        cache |= {"fqdn": address, "port": PORT + number, "label": f"dtr.cache.{name}"}
        caches[name] = first | cache
    stack.configure(caches=caches)


@pytest.mark.timeout(600)
def test_msr_sends_each_blob_once_to_a_chain_that_outlives_the_renewal_of_its_middle(
    stack: Stack, swarm: Swarm
) -> None:
    chain(stack)
    run = stack.deploy()
    assert "this cache is 3 caches away from MSR" in run.words
    made = [name for op, type_, name in run.operations if op == "create" and type_.endswith(":Service")]
    assert made == ["top-service", "middle-service", "leaf-service"]
    stack.must(stack.preview(expect_no_changes=True))
    page, pulled = MsrPage(stack.site), stack.pull("top")
    stack.site.msr.wait_until_quiet()
    once = page.blob_bytes()
    assert stack.pull("leaf").blobs == pulled.blobs
    assert page.blob_bytes() == once, "what the first has, MSR does not send again"
    old = stack.outputs()["caches"]["middle"]["certificateSha256"]
    tasks = swarm.task_ids("top_cache")
    age(stack, days_left=29)
    assert [name for op, type_, name in stack.deploy().operations if op == "update" and type_.endswith(":Service")] == [
        "middle-service",
        "leaf-service",
    ]
    assert stack.outputs()["caches"]["middle"]["certificateSha256"] != old
    assert stack.pull("leaf").blobs == pulled.blobs
    assert swarm.task_ids("top_cache") == tasks
    assert page.blob_bytes() == once
    gone = [name for op, type_, name in stack.must(stack.destroy()).operations if type_.endswith(":Service")]
    assert gone == ["leaf-service", "middle-service", "top-service"]


def test_a_middle_that_would_not_run_changes_neither_itself_nor_its_leaf(stack: Stack, swarm: Swarm) -> None:
    chain(stack)
    stack.deploy()
    tasks = {name: swarm.task_ids(f"{name}_cache") for name in ("leaf", "middle", "top")}
    chain(stack, image=stack.site.image(images.CRASH_TAG))
    assert not stack.up().ok
    assert {name: swarm.task_ids(f"{name}_cache") for name in tasks} == tasks
    page = MsrPage(stack.site)
    before, blobs = page.blob_bytes(), stack.pull("leaf").blobs
    stack.site.msr.wait_until_quiet()
    # For a blob that it lacks, distribution 2.8 asks the next hop twice: for the client, and in the background for its
    # own store (registry/proxy/proxyblobstore.go, ServeBlob). So does each hop for each request that comes meanwhile.
    assert sum(blobs.values()) <= page.blob_bytes() - before <= 2 ** len(tasks) * sum(blobs.values())
