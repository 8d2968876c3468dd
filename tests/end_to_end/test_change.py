"""A change is read before it is made, made without loss, and leaves nothing of what was before."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

from lab import images
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def test_a_changed_blob_ttl_and_port_are_shown_in_words_and_replace_config_yml_leaving_no_old_one(
    deployed: Stack, swarm: Swarm
) -> None:
    before = swarm.listing()
    deployed.configure({"blobTtl": "36h"})
    shown = deployed.must(deployed.preview())
    effect = "rolling restart, about 1 s without service on a host port"
    assert f"info: {CACHE}: config.yml changes (blobTtl 24h => 36h); {effect}" in shown.text
    assert '~ blobTtl : "24h" => "36h"' in shown.words
    assert 'options.blobttl: "24h" => "36h"' in shown.words, "the changed line of config.yml"
    done = deployed.deploy()
    assert done.changed() >= {"SwarmSecret", "Service", "Rollout"}
    assert "PrivateKey" not in done.changed()
    after = swarm.listing()
    assert after["config"] == before["config"] == set()
    assert len(after["secret"]) == len(before["secret"])
    (changed,) = after["secret"] - before["secret"]
    assert changed.startswith(f"{CACHE}_config.yml-")
    assert deployed.pull().blobs
    deployed.must(deployed.preview(expect_no_changes=True))

    deployed.configure({"blobTtl": "36h", "port": PORT + 1})
    deployed.deploy()
    assert deployed.outputs()["cacheUrl"].endswith(f":{PORT + 1}")
    assert deployed.pull().blobs


def test_on_an_ingress_port_the_old_task_ends_after_the_new_one_has_opened_its_port(
    shared: Stack, swarm: Swarm
) -> None:
    """By the engine's own clock, for a cache that takes three seconds from its start until it serves."""
    slow = {"publishMode": "ingress", "image": shared.site.image(images.SLOW_TAG)}
    shared.configure(slow)
    shared.deploy()
    old = swarm.container(f"{CACHE}_cache")
    shared.configure(slow | {"blobTtl": "36h"})
    shown = shared.deploy().text
    for service in (f"{CACHE}_cache-trial", f"{CACHE}_cache"):
        assert re.search(
            rf"\ninfo: waiting for service {service}: task \w+ on {swarm.site.engine.name}, starting", shown
        )
    new = swarm.container(f"{CACHE}_cache")
    started = moment(swarm.inspect("container", new)["State"]["StartedAt"])
    (task,) = swarm.task_ids(f"{CACHE}_cache")
    running = moment(swarm.inspect("", task)["Status"]["Timestamp"])
    ended = moment(swarm.inspect("container", old)["State"]["FinishedAt"])
    assert started + timedelta(seconds=3) < running < ended


def moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*Z", r"\1+00:00", timestamp))


def test_two_caches_live_beside_each_other_and_one_goes_without_the_other(shared: Stack, swarm: Swarm) -> None:
    caches = shared.config()["caches"]
    caches["europe"] = caches[CACHE] | {
        "fqdn": "cache.europe.example.com",
        "port": PORT + 1,
        "label": "dtr.cache.europe",
    }
    shared.configure(caches=caches)
    shared.deploy()
    assert "cacheUrl" not in shared.outputs()
    assert shared.pull(CACHE).blobs == shared.pull("europe").blobs
    tasks = swarm.task_ids(f"{CACHE}_cache")
    del caches["europe"]
    shared.configure(caches=caches)
    shared.deploy()
    assert swarm.names("service") == {f"{CACHE}_cache"}
    assert swarm.task_ids(f"{CACHE}_cache") == tasks
    assert not [name for kind in ("config", "secret") for name in swarm.names(kind) if "europe" in name]
