"""A change is read before it is made, made without loss, and leaves nothing of what was before."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

from lab import images
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def test_a_changed_blob_ttl_is_shown_in_words_and_replaces_config_yml_leaving_no_old_one(
    stack: Stack, swarm: Swarm
) -> None:
    stack.deploy()
    before = swarm.listing()
    stack.configure({"blobTtl": "36h"})
    shown = stack.must(stack.preview())
    assert '~ blobTtl : "24h" => "36h"' in shown.words
    assert '~ blobttl : "24h" => "36h"' in shown.words, "the changed line of config.yml"
    done = stack.deploy()
    assert done.changed() >= {"SwarmSecret", "Service", "Rollout"}
    assert "PrivateKey" not in done.changed()
    after = swarm.listing()
    assert after["config"] == before["config"] == set()
    assert len(after["secret"]) == len(before["secret"])
    (changed,) = after["secret"] - before["secret"]
    assert changed.startswith(f"{CACHE}_config.yml-")
    assert stack.pull().blobs
    stack.must(stack.preview(expect_no_changes=True))


def test_a_changed_port_is_shown_in_words_and_served_on(stack: Stack) -> None:
    stack.deploy()
    stack.configure({"port": PORT + 1})
    shown = stack.must(stack.preview())
    assert f"~ port : {PORT} => {PORT + 1}" in shown.words
    assert f'~ addr : "0.0.0.0:{PORT}" => "0.0.0.0:{PORT + 1}"' in shown.words, "the changed line of config.yml"
    stack.deploy()
    assert stack.outputs()["cacheUrl"].endswith(f":{PORT + 1}")
    assert stack.pull().blobs


def test_on_an_ingress_port_the_old_task_ends_after_the_new_one_has_opened_its_port(stack: Stack, swarm: Swarm) -> None:
    """By the engine's own clock, for a cache that takes three seconds from its start until it serves."""
    slow = {"publishMode": "ingress", "image": stack.site.image(images.SLOW_TAG)}
    stack.configure(slow)
    stack.deploy()
    old = swarm.container(f"{CACHE}_cache")
    stack.configure(slow | {"blobTtl": "36h"})
    stack.deploy()
    new = swarm.container(f"{CACHE}_cache")
    started = moment(swarm.inspect("container", new)["State"]["StartedAt"])
    (task,) = swarm.task_ids(f"{CACHE}_cache")
    running = moment(swarm.inspect("", task)["Status"]["Timestamp"])
    ended = moment(swarm.inspect("container", old)["State"]["FinishedAt"])
    assert started + timedelta(seconds=3) < running < ended


def moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*Z", r"\1+00:00", timestamp))


def test_two_caches_live_beside_each_other_and_one_goes_without_the_other(stack: Stack, swarm: Swarm) -> None:
    caches = stack.config()["caches"]
    caches["europe"] = caches[CACHE] | {
        "fqdn": "cache.europe.example.com",
        "port": PORT + 1,
        "label": "dtr.cache.europe",
    }
    stack.configure(caches=caches)
    stack.deploy()
    assert "cacheUrl" not in stack.outputs()
    assert stack.pull(CACHE).blobs == stack.pull("europe").blobs
    tasks = swarm.task_ids(f"{CACHE}_cache")
    del caches["europe"]
    stack.configure(caches=caches)
    stack.deploy()
    assert swarm.names("service") == {f"{CACHE}_cache"}
    assert swarm.task_ids(f"{CACHE}_cache") == tasks
    assert not [name for kind in ("config", "secret") for name in swarm.names(kind) if "europe" in name]
