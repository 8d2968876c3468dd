"""Two caches that would keep blobs in one place are refused: each would delete what the other has stored."""

from __future__ import annotations

from typing import Any

import pytest

from msr_cache.config.validation import validate
from tests.msr_cache.conftest import declared, with_changes

S3 = {"region": "r", "bucket": "b", "rootdirectory": "/asia"}
NFS = {"server": "nfs.example.com", "path": "/msr-cache"}
DEVICE = {"type": "nfs", "o": "addr=nfs.example.com", "device": ":/x"}


def both(key: str, one: Any, other: Any, *, nodes: tuple[str, ...] = ("worker-8",)) -> dict[str, Any]:
    """Cache asia with `one` at `key`, and cache europe with `other` there."""
    europe = {"fqdn": "cache.eu.example.com", "nodes": [*nodes], "label": "eu.cache", "port": 8443}
    return {f".{key}": one, "caches.europe": europe, f"caches.europe.{key}": other}


SHARED = {
    "a bucket": both("storage.s3", S3, {**S3, "rootdirectory": "asia/"}),
    "a bucket by registryConfig": both("registryConfig.storage", {"s3": S3}, {"s3": S3}),
    "Google's": both("storage.gcs", {"bucket": "b"}, {"bucket": "b"}),
    "Azure's": both("storage.azure", {"accountname": "a", "container": "c"}, {"accountname": "a", "container": "c"}),
    "Alibaba's": both("storage.oss", {"bucket": "b"}, {"bucket": "b", "region": "other"}),
    "OpenStack's": both("storage.swift", {"authurl": "u", "container": "c"}, {"authurl": "u", "container": "c"}),
    "an export": both("volume.nfs", NFS, {**NFS, "path": "/msr-cache/", "options": "nfsvers=4.2"}),
    "a folder of a node": both("volume.bind", "/srv/blobs", "/srv//blobs", nodes=("worker-8", "worker-7")),
    "a device": both("volume.driver", {"name": "local", "options": DEVICE}, {"name": "local", "options": DEVICE}),
}
APART = {
    "another folder of the bucket": both("storage.s3", S3, {**S3, "rootdirectory": "/europe"}),
    "a bucket of the same name elsewhere": both("storage.s3", S3, {**S3, "regionendpoint": "https://s3.example.com"}),
    "another path of the server": both("volume.nfs", NFS, {**NFS, "path": "/other"}),
    "the same folder of another node": both("volume.bind", "/srv/blobs", "/srv/blobs"),
    "a volume of each": both("volume.driver", {"name": "local"}, {"name": "local"}, nodes=("worker-7",)),
    "the container of each": both("storage.filesystem", {}, {}, nodes=("worker-7",)),
}


@pytest.mark.parametrize("case", SHARED)
def test_two_caches_that_keep_blobs_in_one_place_are_refused_at_the_second(case: str) -> None:
    (mistake,) = validate(with_changes(SHARED[case]))[1]
    assert mistake.path[:2] == ("caches", "europe")
    assert "cache asia keeps its blobs there, and each would delete what the other stores" in mistake.text


@pytest.mark.parametrize("case", APART)
def test_two_caches_with_a_place_of_their_own_are_let_be(case: str) -> None:
    assert validate(with_changes(APART[case]))[1] == []


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("a bucket", "storage.s3: found 'b asia', expected another rootdirectory"),
        ("an export", "volume.nfs: found 'nfs.example.com:/msr-cache', expected another path"),
    ],
)
def test_the_line_says_what_to_change_before_anything_is_declared(case: str, told: str) -> None:
    program = declared(SHARED[case])
    assert program.resources == []
    (_, line) = program.error.splitlines()
    why = "cache asia keeps its blobs there, and each would delete what the other stores"
    assert line == f"msr-cache:caches.europe.{told}: {why}"
