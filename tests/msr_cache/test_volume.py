"""A cache's blobs outlive its tasks where the operator says so, and everybody is told where that is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from msr_cache import volume
from msr_cache.rollout.trial import engine_spec
from tests.msr_cache.conftest import declared, plain, settings_with

NFS = {"nfs": {"server": "nfs.example.com", "path": "/msr-cache", "options": "nfsvers=4.1,hard"}}
BIND = {"bind": "/srv/msr-cache"}
DRIVER = {"driver": {"name": "local", "options": {"type": "tmpfs", "device": "tmpfs"}}}
S3 = {"s3": {"region": "eu-west-1", "bucket": "b"}}


def mount(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    (found,) = volume.mounts(settings_with({".volume": given, **changes}), "asia")
    return found


def test_without_a_volume_nothing_is_mounted_and_nothing_stays() -> None:
    assert volume.mounts(settings_with(), "asia") == []
    assert volume.place(settings_with(), "asia") is None


def test_nfs_is_mounted_by_the_engines_own_driver_as_dockers_documentation_has_it() -> None:
    """Docker documentation, "Volumes": type=nfs, o=addr=..., device=:/path.

    In the service's mount, so that each node has them: kreuzwerker/terraform-provider-docker issue 966.
    """
    options = mount(NFS)["volume_options"]
    assert options["driver_name"] == "local"
    assert options["driver_options"] == {
        "type": "nfs",
        "o": "addr=nfs.example.com,nfsvers=4.1,hard",
        "device": ":/msr-cache",
    }
    assert options["no_copy"] is True


def test_a_folder_of_the_nodes_is_mounted_as_the_daemon_tells_it() -> None:
    """A propagation that is not stated comes back, and is proposed as a change at every preview."""
    assert mount(BIND) == {
        "target": "/var/lib/registry",
        "read_only": False,
        "type": "bind",
        "source": "/srv/msr-cache",
        "bind_options": {"propagation": "rprivate"},
    }


def test_changed_options_are_a_new_name_because_an_old_volume_would_keep_the_old_ones() -> None:
    """moby issue 31627, docker/cli issue 1279."""
    other = {"nfs": {**NFS["nfs"], "options": "nfsvers=4.2"}}
    names = [mount(each)["source"] for each in (NFS, other, DRIVER, NFS)]
    assert len(set(names)) == 3
    assert names[0] == names[3]
    assert all(name.startswith("asia_storage-") for name in names)


@pytest.mark.parametrize("storage", [".storage", ".registryConfig.storage"])
def test_a_volume_is_mounted_where_the_registry_keeps_its_blobs(storage: str) -> None:
    changes = {storage: {"filesystem": {"rootdirectory": "/srv/blobs"}}}
    assert mount(BIND, **changes)["target"] == "/srv/blobs"
    assert mount(BIND, **{".storage": {"filesystem": None}})["target"] == "/var/lib/registry"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (NFS, "nfs.example.com:/msr-cache"),
        (BIND, "/srv/msr-cache on each of worker-7, worker-8"),
        (DRIVER, r"docker volume asia_storage-[0-9a-f]{10} on each of worker-7, worker-8"),
    ],
)
def test_where_the_blobs_stay_is_told_in_the_outputs_and_to_the_rollout_which_says_it_at_destroy(
    given: dict[str, Any], told: str
) -> None:
    program = declared({".volume": given, ".nodes": ["worker-7", "worker-8"]})
    assert re.fullmatch(told, program.outputs["caches"]["asia"]["blobs"])
    assert re.fullmatch(told, plain(program.one("Rollout").inputs)["blobs"])


@pytest.mark.parametrize("given", [NFS, BIND, DRIVER])
def test_a_trial_mounts_what_the_service_will_mount(given: dict[str, Any]) -> None:
    inputs = plain(declared({".volume": given}).one("Service").inputs)
    (tried,) = engine_spec(inputs, "trial", {})["TaskTemplate"]["ContainerSpec"]["Mounts"]
    wanted = mount(given)
    assert (tried["Type"], tried["Source"], tried["Target"]) == (wanted["type"], wanted["source"], wanted["target"])
    if given is BIND:
        assert tried["BindOptions"] == {"Propagation": "rprivate"}
    else:
        driver = {"Name": "local", "Options": wanted["volume_options"]["driver_options"]}
        assert tried["VolumeOptions"] == {"NoCopy": True, "DriverConfig": driver}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "a new task begins with none"),
        ({".storage": {"inmemory": None}}, "a new task begins with none"),
        ({".volume": {"driver": {"name": "local"}}}, "the tasks of one node share the node's volume"),
    ],
)
def test_replicas_without_shared_storage_are_a_warning_that_says_what_each_holds(
    changes: dict[str, Any], told: str
) -> None:
    (warning,) = volume.warnings(settings_with({".replicas": 2, **changes}))
    assert warning.startswith("msr-cache:caches.asia.storage: 2 replicas without shared storage. Each holds only ")
    assert told in warning
    assert warning in declared({".replicas": 2, **changes}).warnings


@pytest.mark.parametrize(
    "changes", [{".replicas": 1}, {".storage": S3}, *({".volume": each} for each in (NFS, BIND, DRIVER))]
)
def test_replicas_that_may_share_their_storage_are_no_warning(changes: dict[str, Any]) -> None:
    assert list(volume.warnings(settings_with({".replicas": 2, **changes}))) == []
