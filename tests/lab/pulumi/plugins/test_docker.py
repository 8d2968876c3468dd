"""The stand-in for pulumi-docker's plugin is odd where the real one is odd."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from lab.pulumi.plugins.docker import Service, _connect
from lab.pulumi.plugins.provider import StepError

POLICY = {"condition": "any", "delay": "5s", "maxAttempts": 0, "window": "0s"}
NEWS: dict[str, Any] = {
    "name": "s",
    "taskSpec": {
        "containerSpec": {
            "image": "a@sha256:1",
            "env": {},
            "sysctl": {},
            "configs": [{"configId": "1", "configName": "c-1", "fileName": "/config.yml"}],
        },
        "restartPolicy": POLICY,
    },
}
service = Service("unix:///run/msr-cache-lab/engine/docker.sock")


@pytest.fixture
def outs() -> dict[str, Any]:
    """Give a service's state after it was created with NEWS and read again."""
    return service.planned({}, NEWS)


def changed(path: str, value: Any) -> dict[str, Any]:
    news = deepcopy(NEWS)
    *parents, last = path.split(".")
    place = news
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return news


def test_what_is_stated_settles(outs: dict[str, Any]) -> None:
    assert service.diff(outs, NEWS).changes is False


@pytest.mark.parametrize("field", ["delay", "condition"])
def test_a_default_of_the_restart_policy_that_is_not_stated_never_settles(outs: dict[str, Any], field: str) -> None:
    """pulumi-docker 5.2: the daemon's default comes back, and differs from the input that is not there."""
    path = f"taskSpec.restartPolicy.{field}"
    assert service.diff(outs, changed(path, None)).changes


def test_a_changed_name_replaces_the_service_and_deletes_the_old_one_first(outs: dict[str, Any]) -> None:
    """The bridge: two objects can't have a name that the program has given."""
    diff = service.diff(outs, changed("name", "t"))
    assert (diff.changes, diff.replaces, diff.delete_before_replace) == (True, ["name"], True)


def test_the_order_of_what_has_none_is_no_change_and_other_contents_are(outs: dict[str, Any]) -> None:
    files = NEWS["taskSpec"]["containerSpec"]["configs"]
    other = {"configId": "2", "configName": "c-2", "fileName": "/config.yml"}
    assert service.diff(outs, changed("taskSpec.containerSpec.configs", [other])).changes
    both = service.planned({}, changed("taskSpec.containerSpec.configs", [*files, other]))
    assert not service.diff(both, changed("taskSpec.containerSpec.configs", [other, *files])).changes


def test_durations_are_compared_by_their_length_not_their_spelling(outs: dict[str, Any]) -> None:
    assert service.diff(outs, changed("taskSpec.restartPolicy.delay", "5000ms")).changes is False
    assert service.diff(outs, changed("taskSpec.restartPolicy.delay", "6s")).changes


LOGIN = {"address": "r.example.com:5000", "username": "deploy", "password": "hunter2"}
HUB = LOGIN | {"address": "mirantis"}


@pytest.mark.parametrize(
    ("image", "user"),
    [
        ("r.example.com:5000/msr/cache:1", "deploy"),
        ("mirantis/dtr-content-cache:2.9.0", "deploy"),
        ("docker.io/mirantis/dtr-content-cache:2.9.0", None),
        ("other.example.com/msr/cache:1", None),
        ("r.example.com/msr/cache:1", None),
        ("cache:1", None),
    ],
)
def test_a_login_is_looked_up_by_what_stands_before_the_images_first_slash(image: str, user: str | None) -> None:
    """pulumi-docker 5.2: fromRegistryAuth; it reads no config.json of its own."""
    stood_in = Service("unix:///nowhere", {login["address"]: login for login in (LOGIN, HUB)})
    assert (stood_in._login(image) or {}).get("username") == user


MOUNT = {"target": "/a", "source": "v", "type": "volume", "readOnly": False}
OPTIONS = {"noCopy": True, "driverName": "local", "driverOptions": {"type": "nfs"}}


@pytest.mark.parametrize(
    "changed_options", [{"noCopy": False}, {"driverName": "x"}, {"driverOptions": {"type": "tmpfs"}}]
)
def test_a_mount_settles_and_each_option_of_it_counts(changed_options: dict[str, Any]) -> None:
    def mounting(**options: Any) -> dict[str, Any]:
        mount = {**MOUNT, "volumeOptions": {**OPTIONS, **options}}
        return changed("taskSpec.containerSpec.mounts", [mount])

    outs = service.planned({}, mounting())
    assert not service.diff(outs, mounting()).changes
    assert service.diff(outs, mounting(**changed_options)).changes
    assert service.diff(outs, NEWS).changes
    with pytest.raises(StepError, match="does not know driverNmae"):
        service.check("s", mounting(driverNmae="x"))


def test_a_provider_takes_nothing_but_a_host_that_is_a_labs() -> None:
    """What is empty is how the program says that no variable of the environment counts."""
    news = {"host": "unix:///run/msr-cache-lab/engine/docker.sock", "context": "", "caMaterial": ""}
    assert _connect("swarm", news) == news
    for more in ({"context": "asia"}, {"keyMaterial": "PEM"}, {"sshOpts": "[]"}):
        with pytest.raises(StepError):
            _connect("swarm", news | more)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"host": "unix:///run/msr-cache-lab/../docker.sock"},
            "^docker provider swarm: found unix:///run/msr-cache-lab/../docker.sock, expected a lab's docker host",
        ),
        ({"context": "c"}, "swarm: .* does not know context"),
        ({"registryAuth": '[{"address": "r", "configFile": "c"}]'}, "swarm.registryAuth: .* does not know configFile"),
        (
            {"registryAuth": '[{"address": "r", "username": "u"}]'},
            "^docker provider swarm.registryAuth: found no password",
        ),
    ],
)
def test_another_host_or_an_odd_login_of_a_provider_is_named(more: dict[str, Any], told: str) -> None:
    with pytest.raises(StepError, match=told):
        _connect("swarm", {"host": "unix:///run/msr-cache-lab/engine/docker.sock"} | more)


@pytest.mark.parametrize(
    ("news", "told"),
    [
        (NEWS | {"auth": {}}, "s: .* does not know auth$"),
        (changed("taskSpec.containerSpec.hosts", []), r"s\.taskSpec\.containerSpec: .* does not know hosts$"),
    ],
)
def test_an_input_of_a_service_that_is_not_known_is_named_with_its_path(news: dict[str, Any], told: str) -> None:
    with pytest.raises(StepError, match=told):
        service.check("s", news)
