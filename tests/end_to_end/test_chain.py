"""Three caches in a row, each trusted by another kind of certificate: MSR serves each blob once, to the first."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificate

from lab import images
from msr_cache.x509.pem import key_sha256
from tests.certificates import Made, make
from tests.end_to_end.howto import config
from tests.end_to_end.msr import MsrPage
from tests.end_to_end.renewal import age
from tests.end_to_end.stack import KEY, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

ROOT = make("Company root", ca=True)


@functools.cache
def of_asia(address: str) -> Made:
    return ROOT.sign(address, sans=(address,))


def chain(stack: Stack, *, asia: dict[str, Any], tokyo: dict[str, Any], osaka: dict[str, Any]) -> None:
    """Configure the caches of docs/reach.md, with changes, on one node; asia has a company's certificate."""
    found, address = config("docs/reach.md", "Chains"), stack.site.engine.address
    key = stack.folder.parent / "asia.key"
    key.write_text(of_asia(address).key)
    provided = {"source": "provided", "certificate": of_asia(address).pem, "ca": ROOT.pem, "key": str(key)}
    changes = {"asia": {"tls": provided, **asia}, "tokyo": {"verify": "tls", "tls": KEY, **tokyo}, "osaka": osaka}
    for number, (name, cache) in enumerate(found["caches"].items()):
        cache |= {"fqdn": address, "nodes": [stack.site.engine.name], "port": PORT + number, **changes[name]}
    found["cacheDefaults"]["image"] = stack.site.cache_image
    stack.configure(**found)


def test_msr_sends_each_blob_once_to_a_chain_that_outlives_the_renewal_of_its_middle(
    stack: Stack, swarm: Swarm
) -> None:
    chain(stack, asia={}, tokyo={}, osaka={"upstreams": [{"cache": "tokyo"}], "tls": {**KEY, "source": "localCa"}})
    run = stack.deploy()
    assert "this cache is 3 caches away from MSR" in run.words
    made = [name for op, type_, name in run.operations if op == "create" and type_.endswith(":Service")]
    assert made == ["asia-service", "tokyo-service", "osaka-service"]
    stack.must(stack.preview(expect_no_changes=True))
    page = MsrPage(stack.site)
    before, blobs = page.blob_bytes(), stack.pull("osaka").blobs
    stack.site.msr.wait_until_quiet()
    once = page.blob_bytes()
    # For a blob that it lacks, distribution 2.8 asks the next hop twice: for the client, and in the background for its
    # own store (registry/proxy/proxyblobstore.go, ServeBlob). So does each hop for each request that comes meanwhile.
    assert sum(blobs.values()) <= once - before <= 2**3 * sum(blobs.values())
    old = stack.outputs()["caches"]["tokyo"]["certificateSha256"]
    tasks = swarm.task_ids("asia_cache")
    age(stack, days_left=29)
    assert [name for op, type_, name in stack.deploy().operations if op == "update" and type_.endswith(":Service")] == [
        "tokyo-service",
        "osaka-service",
    ]
    assert stack.outputs()["caches"]["tokyo"]["certificateSha256"] != old
    assert stack.pull("osaka").blobs == blobs
    assert swarm.task_ids("asia_cache") == tasks
    assert page.blob_bytes() == once, "what the first has, MSR does not send again to those that have lost theirs"
    gone = [name for op, type_, name in stack.must(stack.destroy()).operations if type_.endswith(":Service")]
    assert gone == ["osaka-service", "tokyo-service", "asia-service"]


def test_an_upstream_that_would_not_run_changes_neither_itself_nor_the_cache_that_fetches_from_it(
    stack: Stack, swarm: Swarm
) -> None:
    """And a cache fetches from another MSR, which it knows by URL and pin."""
    (msr,) = config("docs/reach.md", "Chains")["caches"]["osaka"]["upstreams"]
    msr["url"] = stack.site.msr.url
    msr["ca"]["sha256"] = key_sha256(load_pem_x509_certificate(stack.site.msr.ca_pem().encode()))
    osaka = {"upstreams": [msr]}
    chain(stack, asia={}, tokyo={}, osaka=osaka)
    stack.deploy()
    tasks = {name: swarm.task_ids(f"{name}_cache") for name in ("asia", "tokyo", "osaka")}
    chain(stack, asia={"image": stack.site.image(images.CRASH_TAG)}, tokyo={"blobTtl": "36h"}, osaka=osaka)
    assert not stack.up().ok
    assert {name: swarm.task_ids(f"{name}_cache") for name in tasks} == tasks
    assert stack.pull("osaka").blobs
