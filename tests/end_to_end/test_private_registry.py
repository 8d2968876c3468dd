"""An image behind a login is looked up, tried and pulled by all nodes, also after the password changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from lab.images import CACHE_REPOSITORY, CACHE_TAG, OTHER_TAG
from lab.process import Process, wait_until
from lab.site import Site
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

USER, OLD, NEW = "deploy", "hunter2-of-the-registry", "hunter3-of-the-registry"
# By Debian's libcrypt: docker-registry knows bcrypt alone.
HASHES = {
    OLD: "$2y$05$abcdefghijklmnopqrstuuJQ0OEfoQ1jvzDwPykoQtl7vEtSYYygy",
    NEW: "$2y$05$abcdefghijklmnopqrstuu604Ko5zPhOd2rNH8TyrUZ.4NjfjVU4m",
}


@dataclass(frozen=True)
class Private:
    """Debian's docker-registry, which serves what the site's own does, but for a login."""

    site: Site
    folder: Path

    @property
    def address(self) -> str:
        return f"{self.site.network.host_address}:5001"

    def image(self, tag: str) -> str:
        return f"{self.address}/{CACHE_REPOSITORY}:{tag}"

    def start(self, password: str) -> None:
        (self.folder / "htpasswd").write_text(f"{USER}:{HASHES[password]}\n")
        behind = self.site.image_registry
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(behind.data / behind.name)}},
            "http": {"addr": self.address},
            "auth": {"htpasswd": {"realm": "private", "path": str(self.folder / "htpasswd")}},
        }
        (self.folder / "config.yml").write_text(json.dumps(config))
        self.process.start("/usr/bin/docker-registry", "serve", self.folder / "config.yml")
        wait_until(self._asks, f"the registry does not answer: see {self.process.log}")

    @property
    def process(self) -> Process:
        return Process(self.folder / "registry.pid", self.folder / "registry.log")

    def _asks(self) -> bool:
        try:
            return requests.get(f"http://{self.address}/v2/", timeout=1).status_code == 401
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a site whose nodes have pulled nothing yet."""
    started = Site.start(tmp_path_factory.mktemp("private"))
    yield started
    started.stop()


@pytest.fixture
def private(site: Site, tmp_path: Path) -> Iterator[Private]:
    registry = Private(site, tmp_path)
    registry.start(OLD)
    yield registry
    registry.process.stop()


def configure(stack: Stack, private: Private, tag: str) -> None:
    stack.configure({"image": private.image(tag)})
    stack.given.add(OLD)
    lines = [line for line in commands("docs/reach.md", "Private registries") if "configFile" not in line]
    typed(stack, lines, {"registry.corp.example.com": private.address}, stdin=OLD)


def configure_file(stack: Stack, private: Private, tag: str, folder: Path) -> None:
    """Let the login be where `docker login` puts it."""
    stack.configure({"image": private.image(tag)})
    stack.given |= {NEW, login := base64.b64encode(f"{USER}:{NEW}".encode()).decode()}
    file = folder / "config.json"
    file.write_text(json.dumps({"auths": {private.address: {"auth": login}}}))
    (line,) = (line for line in commands("docs/reach.md", "Private registries") if "configFile" in line)
    typed(stack, [line], {"registry.corp.example.com": private.address, "~/.docker/config.json": str(file)})


def test_a_login_is_enough_for_the_look_up_the_trial_and_a_node_that_joins_after_the_password_changed(
    stack: Stack, private: Private, swarm: Swarm, tmp_path: Path
) -> None:
    stack.configure({"image": private.image(CACHE_TAG)})
    before = swarm.listing()
    run = stack.up()
    assert not run.ok
    assert f"registry {private.address} asks for a login to pull image {private.image(CACHE_TAG)}" in run.words
    assert f"""--path 'msr-cache:imageRegistries["{private.address}"].username' USER""" in run.words
    assert swarm.listing() == before

    configure(stack, private, CACHE_TAG)
    stack.deploy()
    assert stack.pull().blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))

    configure(stack, private, OTHER_TAG)
    assert {"Image", "Service", "Rollout"} <= stack.deploy().changed()
    assert stack.pull().blobs

    private.process.stop()
    private.start(NEW)
    configure_file(stack, private, OTHER_TAG, tmp_path)
    task = swarm.task_ids(f"{CACHE}_cache")
    assert stack.deploy().changed() == {"docker", "pulumi-python", "Service", "Rollout"}
    assert swarm.task_ids(f"{CACHE}_cache") == task, "a login restarts nothing"
    stack.must(stack.preview(expect_no_changes=True))

    worker = stack.site.add_worker()
    # By hand, so that no trial of ours pulls the image there first.
    swarm.docker("node", "update", "--label-add", "dtr.cache=true", worker.name)
    swarm.docker("service", "scale", "--detach", f"{CACHE}_cache=2")
    with closing(worker.client()) as docker:
        wait_until(docker.containers.list, "the new node does not run the cache")
    worker.remove()
    swarm.docker("node", "rm", "--force", worker.name)
    swarm.docker("service", "scale", "--detach", f"{CACHE}_cache=1")
