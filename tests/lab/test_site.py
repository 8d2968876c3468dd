"""What the lab promises, on a site of the tests' own beside the checkout's."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import DockerException
from docker.types import ConfigReference, EndpointSpec, RestartPolicy, SecretReference

from lab.authority import issue
from lab.client import PullError, PullResult, pull
from lab.errors import LabError
from lab.packages import ensure_installed
from lab.process import Process, start_time, wait_until
from lab.site import Site, _id
from tests.seed import CONFIG_YAML

pytestmark = pytest.mark.swarm

PORT = 9443
FQDN = "cache.lab.test"
LABEL = "dtr.cache"


class Cache:
    """The seed's cache as a service; `ca_pem` is what its clients trust."""

    def __init__(self, site: Site, node: str = "worker-1") -> None:
        self.site = site
        tls = issue("Cache CA", address=site.engine.address, dns_name=FQDN)
        self.ca_pem = tls.ca
        certs = {"dtr.cert.pem": site.msr.ca_pem(), "cache.cert.pem": tls.certificate, "cache.key.pem": tls.key}
        with closing(site.engine.client()) as client:
            labelled = client.nodes.get(node)
            labelled.update({**labelled.attrs["Spec"], "Labels": {LABEL: "true"}})
            config_yml = CONFIG_YAML.format(url=f"https://{FQDN}:{PORT}", msr_url=site.msr.url)
            config = client.configs.create(name="config.yml", data=config_yml.encode())
            secrets = [client.secrets.create(name=name, data=pem.encode()).id for name, pem in certs.items()]
            self.id = client.services.create(
                site.cache_image,
                name="cache",
                command=["/start.sh", "/config.yml"],
                configs=[ConfigReference(config.id, "config.yml", "/config.yml")],
                secrets=[SecretReference(secret, name) for secret, name in zip(secrets, certs, strict=True)],
                endpoint_spec=EndpointSpec(ports={PORT: (443, "tcp", "host")}),
                constraints=[f"node.labels.{LABEL} == true"],
                restart_policy=RestartPolicy(condition="on-failure"),
            ).id

    def wait_until_serving(self, address: str | None = None) -> None:
        at = address or self.site.engine.address
        wait_until(lambda: self._status(at) == HTTPStatus.OK, f"the cache does not serve: {self.tasks()}")

    def pull(self) -> PullResult:
        url, address = f"https://{FQDN}:{PORT}", self.site.engine.address
        return pull(url, Site.app_repository, Site.app_tag, self.ca_pem, address=address)

    def tasks(self) -> list[dict[str, Any]]:
        with closing(self.site.engine.client()) as client:
            return list(client.services.get(self.id).tasks())

    def remove(self) -> None:
        with closing(self.site.engine.client()) as client:
            client.services.get(self.id).remove()
            wait_until(lambda: not client.containers.list(), "the cache's container stays")
            for thing in [*client.configs.list(), *client.secrets.list()]:
                thing.remove()

    def _status(self, address: str) -> int:
        try:
            url = f"https://{address}:{PORT}/"
            return requests.get(url, verify=False, timeout=2).status_code  # noqa: S501 - only whether it is up
        except requests.RequestException:
            return 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site.start(tmp_path_factory.mktemp("site"))
    yield started
    started.stop()


@pytest.fixture
def cache(site: Site) -> Iterator[Cache]:
    deployed = Cache(site)
    deployed.wait_until_serving()
    yield deployed
    deployed.remove()


def blobs_sent(site: Site) -> int:
    return sum("GET" in line and "/blobs/" in line for line in site.msr.requests())


def test_the_second_pull_is_served_while_msr_is_stopped(site: Site, cache: Cache) -> None:
    before = blobs_sent(site)
    first = cache.pull()
    assert blobs_sent(site) > before
    site.msr.wait_until_quiet()
    site.msr.stop()
    try:
        second = cache.pull()
    finally:
        site.msr.start()
    assert second.blobs == first.blobs
    assert len(second.blobs) == 4
    assert min(sorted(second.blobs.values())[1:]) > 1 << 20


def test_a_pull_through_the_cache_equals_one_from_msr(site: Site, cache: Cache) -> None:
    direct = pull(site.msr.url, Site.app_repository, Site.app_tag, site.msr.ca_pem())
    assert cache.pull().blobs == direct.blobs
    by_digest = pull(site.msr.url, Site.app_repository, direct.manifest_digest, site.msr.ca_pem())
    assert by_digest.blobs == direct.blobs


def test_the_swarm_stores_the_image_by_digest(site: Site) -> None:
    """By docker's own client, as `docker stack deploy` does: it is the client that asks for the digest of a tag."""
    docker = ("/usr/bin/docker", f"--host={site.engine.docker_host}", "service")
    subprocess.run([*docker, "create", "--detach", "--name=by-tag", "--replicas=0", site.cache_image], check=True)
    with closing(site.engine.client()) as client:
        service = client.services.get("by-tag")
        image = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
        service.remove()
    assert image == f"{site.cache_image}@{site.image_digest('2.9.0')}"
    assert site.image_digest("2.9.0") != site.image_digest("2.9.1")


def test_the_client_refuses_a_certificate_it_does_not_trust(site: Site) -> None:
    stranger = issue("Stranger", address=site.engine.address, dns_name=FQDN).ca
    with pytest.raises(PullError, match="certificate signed by unknown authority"):
        pull(site.msr.url, Site.app_repository, Site.app_tag, stranger)
    with pytest.raises(PullError, match=r"certificate is valid for .*, not x.lab.test"):
        pull("https://x.lab.test:8443", Site.app_repository, "1", site.msr.ca_pem(), address=site.network.host_address)


def test_the_client_names_what_is_missing(site: Site) -> None:
    with pytest.raises(PullError, match="manifest unknown"):
        pull(site.msr.url, Site.app_repository, "no-such-tag", site.msr.ca_pem())


def test_private_keys_are_readable_by_their_owner_only(site: Site) -> None:
    keys = [path for path in site.data.glob("msr-front/**/*") if path.is_file() and "PRIVATE" in path.read_text()]
    assert keys
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_a_paused_engine_comes_back_with_its_swarm(site: Site, cache: Cache) -> None:
    site.engine.pause()
    try:
        with pytest.raises(DockerException), closing(site.engine.client(timeout=1)) as client:
            client.ping()
        assert cache.pull().blobs
    finally:
        site.engine.resume()
    assert cache.tasks()[0]["Status"]["State"] == "running"


def test_starting_a_site_that_runs_finds_it(site: Site) -> None:
    pids = {path: path.read_text() for path in site.run.rglob("*.pid")}
    again = Site.start(site.root)
    assert again == site
    assert {path: path.read_text() for path in site.run.rglob("*.pid")} == pids


def test_a_site_with_a_part_ended_by_force_is_made_whole(site: Site) -> None:
    ca_pem = site.msr.ca_pem()
    for record in site.run.rglob("*.pid"):
        os.kill(int(record.read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: not any(site.running().values()), "still running")
    again = Site.start(site.root)
    assert all(again.running().values())
    assert again.msr.ca_pem() == ca_pem


def test_a_recycled_pid_is_not_taken_for_ours(tmp_path: Path) -> None:
    other = subprocess.Popen(["/usr/bin/sleep", "60"])
    try:
        (tmp_path / "pid").write_text(f"{other.pid} {(start_time(other.pid) or 0) - 1}")
        process = Process(tmp_path / "pid", tmp_path / "log")
        assert process.pid() is None
        process.stop()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_worker_joins_runs_a_service_and_comes_back_with_the_site(tmp_path: Path) -> None:
    site = Site.start(tmp_path)
    try:
        worker = site.add_worker()
        cache = Cache(site, node=worker.name)
        cache.wait_until_serving(worker.address)
        for engine in site.engines:
            engine.kill()
        assert Site.start(tmp_path).engines == site.engines
        cache.wait_until_serving(worker.address)
    finally:
        site.stop()


def test_a_stopped_lab_leaves_no_process_mount_interface_firewall_rule_or_file_behind(tmp_path: Path) -> None:
    before = left_behind(tmp_path)
    site = Site.start(tmp_path)
    cache = Cache(site)
    cache.wait_until_serving()
    cache.pull()
    site.add_worker()
    running = processes(site)
    assert {"dockerd", "containerd", "docker-registry"} <= set(running.values())
    assert any("shim" in name for name in running.values())
    assert left_behind(tmp_path) != before
    site.stop()
    assert left_behind(tmp_path) == before
    assert not [name for (pid, started), name in running.items() if start_time(pid) == started]
    assert Site.find(tmp_path) is None


def test_an_engine_that_crashes_comes_back_and_one_that_was_killed_is_cleared_away_as_well(tmp_path: Path) -> None:
    before = left_behind(tmp_path)
    site = Site.start(tmp_path)
    cache = Cache(site)
    cache.wait_until_serving()
    os.kill(crashed := dockerd(site), signal.SIGABRT)
    wait_until(lambda: start_time(crashed) is None, "it did not crash")
    site.engine.wait()
    cache.wait_until_serving()
    running = processes(site)
    os.kill(dockerd(site), signal.SIGKILL)
    with pytest.warns(UserWarning, match="the engine worker-1 crashed: SIGABRT: abort"):
        site.stop()
    assert left_behind(tmp_path) == before
    assert not [name for (pid, started), name in running.items() if start_time(pid) == started]


def test_a_half_failed_start_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left_behind(tmp_path)

    def fail(_: object) -> None:
        raise LabError("out of disk space")

    monkeypatch.setattr("lab.images.push_cache_images", fail)
    with pytest.raises(LabError, match="out of disk space"):
        Site.start(tmp_path)
    site = Site.find(tmp_path)
    assert site is not None
    site.stop()
    assert left_behind(tmp_path) == before


def left_behind(root: Path) -> dict[str, set[str]]:
    """List where the site of `root` might leave something; what names another site is that one's."""
    ensure_installed()
    folders = ("/run", "/etc", "/opt", "/var/lib", "/sys/fs/cgroup")
    links, rules = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (["/usr/sbin/ip", "-brief", "link"], ["/usr/sbin/iptables", "--wait", "--list-rules"])
    )
    own = _id(root)[-8:]

    def of_others(text: str) -> bool:
        return bool(re.search(r"lab-?[0-9a-f]{8}|msr-?(cache-)?lab", text)) and own not in text

    found = {
        "files": {str(path) for folder in folders for depth in ("*", "*/*") for path in Path(folder).glob(depth)},
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "firewall rules": set(rules.splitlines()),
        "interfaces": {line.split()[0].split("@")[0] for line in links.splitlines()},
    }
    return {kind: {item for item in items if not of_others(item)} for kind, items in found.items()}


def dockerd(site: Site) -> int:
    return next(pid for (pid, _), name in processes(site).items() if name == "dockerd")


def processes(site: Site) -> dict[tuple[int, int], str]:
    """List the pid, start time and name of each process that the site started, and of theirs, that has not ended."""
    found: dict[tuple[int, int], str] = {}
    pids = [int(record.read_text().split()[0]) for record in site.run.rglob("*.pid")]
    while pids:
        pid = pids.pop()
        started = start_time(pid)
        if started is not None:
            found[pid, started] = text_of(Path(f"/proc/{pid}/comm")).strip()
        # A Go program, such as dockerd, starts its processes from any of its threads.
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += map(int, text_of(thread).split())
    return found


def text_of(file: Path) -> str:
    """Return what a file of /proc says; nothing once the process or thread has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return file.read_text()
    return ""
