"""A cache that `docker stack deploy` made from the manual page's files is taken over in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import images
from lab.authority import Issued, issue
from lab.client import pull
from lab.errors import LabError
from lab.process import wait_until
from lab.site import Site
from msr_cache.x509.pem import sha256_of
from tests.end_to_end.background import clients_during
from tests.end_to_end.conftest import two_nodes
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.renewal import connecting
from tests.end_to_end.stack import CACHE, FQDN, PORT, Stack
from tests.end_to_end.swarm import Swarm
from tests.seed import CONFIG_YAML, IMAGE, STACK_YAML

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

SERVICE = f"{CACHE}_cache"
URL = f"https://{FQDN}:{PORT}"
PORTS = f"""\
      - target: {PORT}
        published: {PORT}
        mode: host
"""
"""The lab's kernel routes no ingress ports."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from two_nodes(tmp_path_factory.mktemp("adopt"))


@dataclass(frozen=True)
class ByHand:
    """Docker stack `asia` of a site, from the manual page's two files in `folder`; its certificate and key."""

    folder: Path
    swarm: Swarm
    tls: Issued

    def deploy(self, config: str = CONFIG_YAML, stack: str = STACK_YAML) -> None:
        """Write the files, with the lab's addresses, deploy them, and wait until both nodes serve."""
        site = self.swarm.site
        (self.folder / "certs").mkdir(exist_ok=True)
        (self.folder / "certs" / "dtr.cert.pem").write_text(site.msr.ca_pem())
        (self.folder / "certs" / "cache.cert.pem").write_text(self.tls.certificate)
        (self.folder / "certs" / "cache.key.pem").write_text(self.tls.key)
        config = config.format(url=URL, msr_url=site.msr.url).replace("0:443", f"0:{PORT}")
        (self.folder / "config.yml").write_text(config)
        stack = stack.replace("      - 443:443\n", PORTS).replace(IMAGE, site.cache_image)
        stack = stack.replace('version: "3.3"', 'version: "3.7"').replace("replicas: 1", "replicas: 2")
        (self.folder / "docker-stack.yml").write_text(stack)
        for node in site.engines:
            self.swarm.docker("node", "update", "--label-add", "dtr.cache=true", node.name)
        self.swarm.docker("stack", "deploy", "--compose-file", str(self.folder / "docker-stack.yml"), CACHE)
        for node in site.engines:
            wait_until(partial(self.serves, node.address), f"{node.name} does not serve")

    def serves(self, address: str, trusted: str = "") -> bool:
        """Whether a client that trusts the cache's CA, or another, can pull from the node at `address`."""
        trusted = trusted or self.tls.ca
        try:
            return bool(pull(URL, Site.app_repository, Site.app_tag, trusted, address=address).blobs)
        except LabError:
            return False

    def remove(self) -> None:
        if SERVICE in self.swarm.names("service"):
            self.swarm.docker("stack", "rm", CACHE)
            wait_until(lambda: not of_stack(self.swarm), "the docker stack stays")
        for node in self.swarm.site.engines:
            if "dtr.cache" in self.swarm.labels(node.name):
                self.swarm.docker("node", "update", "--label-rm", "dtr.cache", node.name)


@pytest.fixture
def by_hand(stack: Stack, swarm: Swarm, tmp_path: Path) -> Iterator[ByHand]:
    """Give the cache that the manual page's files make, on two nodes, and a config that takes it over."""
    del stack
    made = ByHand(tmp_path, swarm, issue("Cache CA", address=swarm.site.engine.address, dns_name=FQDN))
    made.deploy()
    yield made
    made.remove()


def adopting(stack: Stack, made: ByHand, **changes: Any) -> None:
    nodes = [node.name for node in stack.site.engines]
    key = str(made.folder / "certs" / "cache.key.pem")
    tls = {"source": "provided", "certificate": made.tls.certificate, "ca": made.tls.ca, "key": key}
    stack.configure({"adoptStack": True, "nodes": nodes, "replicas": 2, "tls": tls, **changes})


def of_stack(swarm: Swarm) -> set[str]:
    """Return the names of what docker stack asia has made and the program does not keep."""
    names = {f"{kind} {name}" for kind in ("config", "secret") for name in swarm.names(kind)}
    return {each for each in names if "-" not in each} | ({f"{CACHE}_default"} & swarm.names("network"))


def test_one_up_takes_over_the_manual_pages_cache_while_no_pull_fails(
    stack: Stack, by_hand: ByHand, swarm: Swarm
) -> None:
    before, listing = swarm.inspect("service", SERVICE), swarm.listing()
    adopting(stack, by_hand)
    preview, up = commands("docs/adopt.md", "Take it over")
    run = typed(stack, [preview])
    told = (
        "info: asia: takes over the service of docker stack asia: config.yml changes (health.storagedriver.enabled none"
    )
    assert told in run.words
    assert "http.draintimeout none => 9s" in run.words
    assert "the cache serves" not in run.words
    assert swarm.inspect("service", SERVICE) == before
    assert swarm.listing() == listing

    addresses = [node.address for node in stack.site.engines]

    def somewhere() -> None:
        """Pull as a client that retries on the next node."""
        assert any(by_hand.serves(address) for address in addresses * 2)

    with connecting(*addresses, draining=False) as seen:
        clients_during(somewhere, lambda: typed(stack, [up]))
    assert all(each.served for each in seen), [each.error for each in seen if each.error]
    assert swarm.inspect("service", SERVICE)["ID"] == before["ID"]
    tasks = swarm.docker("service", "ps", "--quiet", SERVICE).split()
    assert len(tasks) == 4, "each of the two tasks was replaced once"
    assert of_stack(swarm) == {f"{CACHE}_default"}
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    assert stack.pull().blobs
    stack.deploy()
    stack.must(stack.destroy())
    assert swarm.listing() == {**listing, "service": set(), "config": set(), "secret": set()}
    assert not of_stack(swarm)


def test_what_somebody_has_changed_since_is_told_and_taken_over_too(
    stack: Stack, by_hand: ByHand, swarm: Swarm
) -> None:
    manager, worker = stack.site.engines
    # The swarm changes no config: who changes a line has to give the object another name.
    renamed = STACK_YAML.replace("    file: ./config.yml", "    name: asia_config2.yml\n    file: ./config.yml")
    by_hand.deploy(CONFIG_YAML.replace("blobttl: 24h", "blobttl: 48h"), renamed)
    swarm.docker("service", "update", "--env-add", "SITE=asia", "--limit-memory", "1g", SERVICE)
    swarm.docker("node", "update", "--label-rm", "dtr.cache", worker.name)
    before = swarm.inspect("service", SERVICE)["ID"]
    adopting(stack, by_hand, tls={})
    run = stack.must(stack.preview())
    told = ("blobttl 48h => 24h", f"nodes {manager.name} => {manager.name}, {worker.name}", "environment.SITE changes")
    assert [each for each in told if each not in run.words] == []
    served = sha256_of(by_hand.tls.certificate)
    assert f"the cache serves the certificate with SHA-256 {served}, after the restart a new one" in run.words
    stack.deploy()
    assert swarm.inspect("service", SERVICE)["ID"] == before
    assert of_stack(swarm) == {f"{CACHE}_default"}
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    assert by_hand.serves(worker.address, stack.outputs()["caches"][CACHE]["certificatePem"])
    assert not by_hand.serves(worker.address)

    by_hand.deploy()
    told_now = "service asia_cache was changed by docker stack deploy: pulumi up --refresh changes it back"
    assert told_now in stack.must(stack.preview()).words
    stack.deploy(refresh=True)
    assert swarm.inspect("service", SERVICE)["ID"] == before
    assert of_stack(swarm) == {f"{CACHE}_default"}
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.deploy()
    stack.must(stack.destroy())


def test_a_takeover_that_fails_leaves_the_cache_and_so_does_a_destroy_after_it(
    stack: Stack, by_hand: ByHand, swarm: Swarm
) -> None:
    before = swarm.inspect("service", SERVICE)["Spec"]
    adopting(stack, by_hand, image=stack.site.image(images.CRASH_TAG))
    run = stack.up()
    assert not run.ok
    assert "service asia_cache was not changed: a trial task of the new settings did not run" in run.words
    assert not stack.destroy().ok
    assert swarm.inspect("service", SERVICE)["Spec"] == before
    assert all(by_hand.serves(node.address) for node in stack.site.engines)
    (service,) = (each["urn"] for each in stack.resources() if each["urn"].endswith(f"::{CACHE}-service"))
    given_up = typed(stack, commands("docs/adopt.md", "If `up` fails"), {"URN": service})
    assert f"URN: {service}\n" in given_up.text
    assert swarm.inspect("service", SERVICE)["Spec"] == before
    assert all(by_hand.serves(node.address) for node in stack.site.engines)


def test_a_takeover_that_was_killed_during_its_trial_and_its_update_is_finished_by_the_next_up(
    stack: Stack, by_hand: ByHand, swarm: Swarm
) -> None:
    before = swarm.inspect("service", SERVICE)["ID"]
    adopting(stack, by_hand)
    assert stack.kill("up", lambda: f"{SERVICE}-trial" in swarm.names("service"))
    stack.end_orphans()
    stack.unlock()
    assert stack.kill("up", lambda: "msr-cache.owner" in swarm.inspect("service", SERVICE)["Spec"]["Labels"])
    stack.end_orphans()
    typed(stack, commands("docs/recover.md", "`up` was killed"))
    assert swarm.inspect("service", SERVICE)["ID"] == before
    assert swarm.names("service") == {SERVICE}
    assert of_stack(swarm) == {f"{CACHE}_default"}
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.deploy()
    stack.must(stack.destroy())
