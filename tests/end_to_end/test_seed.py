"""What stands in the swarm is what the manual page's own files give with `docker stack deploy`, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.authority import issue
from tests.end_to_end.background import repeatedly
from tests.end_to_end.howto import commands, typed
from tests.end_to_end.stack import CACHE, FQDN, Stack
from tests.end_to_end.swarm import Swarm
from tests.seed import CONFIG_YAML, IMAGE, STACK_YAML

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

FILES = ("/config.yml", "/run/secrets/dtr.cert.pem", "/run/secrets/cache.cert.pem", "/run/secrets/cache.key.pem")


@pytest.fixture
def by_hand(stack: Stack, swarm: Swarm, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Deploy the seed as the manual page says, as stack `asia` too; give what the swarm has then, and take it away."""
    tls = issue("Cache CA", address=stack.site.engine.address, dns_name=FQDN)
    (tmp_path / "certs").mkdir()
    certs = {"dtr": stack.site.msr.ca_pem(), "cache": tls.certificate}
    for name, pem in certs.items():
        (tmp_path / "certs" / f"{name}.cert.pem").write_text(pem)
    (tmp_path / "certs" / "cache.key.pem").write_text(tls.key)
    (tmp_path / "config.yml").write_text(CONFIG_YAML.format(url=f"https://{FQDN}", msr_url=stack.site.msr.url))
    (tmp_path / "docker-stack.yml").write_text(STACK_YAML.replace(IMAGE, stack.site.cache_image))
    swarm.docker("node", "update", "--label-add", "dtr.cache=true", stack.site.engine.name)
    swarm.docker("stack", "deploy", "--compose-file", str(tmp_path / "docker-stack.yml"), CACHE)
    try:
        yield look(swarm)
    finally:
        remove(swarm, stack)


def remove(swarm: Swarm, stack: Stack) -> None:
    if f"{CACHE}_cache" in swarm.names("service") and "msr-cache.owner.dtr.cache" not in swarm.labels():
        swarm.docker("stack", "rm", CACHE)
        swarm.docker("node", "update", "--label-rm", "dtr.cache", stack.site.engine.name)


def described(stack: Stack) -> dict[str, Any]:
    """Return what docs/adopt.md has its reader copy into the stack's config."""
    text = typed(stack, commands("docs/adopt.md", "Describe what runs")).text
    found: dict[str, Any] = yaml.safe_load(text)["config"]["msr-cache:caches"]
    return found


def look(swarm: Swarm) -> dict[str, Any]:
    service = swarm.inspect("service", f"{CACHE}_cache")["Spec"]
    container = swarm.container(f"{CACHE}_cache")
    return {
        "service": service,
        "config": yaml.safe_load(swarm.docker("exec", container, "cat", FILES[0])),
        "files": {path: swarm.docker("exec", container, "stat", "-c", "%a %u %g", path) for path in FILES},
        "dtr.cert.pem": swarm.docker("exec", container, "cat", FILES[1]),
    }


def differences(one: Any, other: Any, at: str = "") -> set[str]:
    """Return the paths at which two JSON values differ; what is empty is as good as absent."""
    if isinstance(one or {}, dict) and isinstance(other or {}, dict):
        one, other = one or {}, other or {}
        keys = one.keys() | other.keys()
        return {path for key in keys for path in differences(one.get(key), other.get(key), f"{at}.{key}")}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return {path for pair in zip(one, other, strict=True) for path in differences(*pair, f"{at}[]")}
    return set() if one == other or not (one or other) else {at}


def by_file_name(service: dict[str, Any]) -> dict[str, Any]:
    """Return the service with its configs and secrets as one list of files, whatever objects hold them."""
    container = service["TaskTemplate"]["ContainerSpec"]
    files = [each["File"] for kind in ("Configs", "Secrets") for each in container.pop(kind, None) or []]
    # Below /, a secret's path has the slash, and a config's has none.
    names = [{**file, "Name": file["Name"].removeprefix("/")} for file in files]
    container["Files"] = sorted(names, key=lambda file: file["Name"])
    return service


MEANT = {
    ".Labels.com.docker.stack.image": "labels of the stack",
    ".Labels.msr-cache.owner": "labels of the stack",
    ".Labels.msr-cache.resource": "labels of the stack",
    ".Labels.msr-cache.state": "labels of the stack",
    ".TaskTemplate.ContainerSpec.Healthcheck.Interval": "a task counts once its port is open",
    ".TaskTemplate.ContainerSpec.Healthcheck.Retries": "a task counts once its port is open",
    ".TaskTemplate.ContainerSpec.Healthcheck.Test": "a task counts once its port is open",
    ".TaskTemplate.ContainerSpec.Healthcheck.Timeout": "a task counts once its port is open",
    # On the task template they would restart tasks for nothing.
    ".TaskTemplate.ContainerSpec.Labels.com.docker.stack.namespace": "labels of the stack",
    ".TaskTemplate.RestartPolicy.Condition": "a cache comes back however it ended",
    ".TaskTemplate.Networks": "a cache has nobody to talk to on a network of its stack's own",
    ".UpdateConfig.FailureAction": "a change that fails is rolled back",
    ".UpdateConfig.Order": "a change is no outage",
    ".RollbackConfig.Order": "nor is a rollback",
}
"""Where the service differs from the seed's, and why."""


def test_service_config_and_files_equal_what_the_manual_page_gives(
    by_hand: dict[str, Any], stack: Stack, swarm: Swarm
) -> None:
    adopted = described(stack)
    assert adopted[CACHE].pop("adoptStack")
    image, node = stack.site.cache_image, stack.site.engine.name
    assert adopted == {CACHE: {"fqdn": FQDN, "nodes": [node], "image": image}}, "all else is the program's default"
    stack.configure(caches=adopted)
    typed(stack, commands("docs/adopt.md", "Replace it"), {"worker-7": node})
    ours = look(swarm)
    unlike = differences(by_file_name(by_hand["service"]), by_file_name(ours["service"]))
    assert sorted(unlike) == sorted(MEANT)
    checks = {f".health.storagedriver.{key}" for key in ("enabled", "interval", "threshold")}
    assert differences(by_hand["config"], ours["config"]) == {".http.secret", ".http.draintimeout", *checks}
    assert re.fullmatch("[0-9a-f]{64}", ours["config"]["http"]["secret"])
    assert ours["files"] == by_hand["files"]
    assert ours["dtr.cert.pem"] == by_hand["dtr.cert.pem"]


@pytest.mark.usefixtures("by_hand")
def test_a_second_cache_serves_beside_the_one_made_by_hand_and_after_it(stack: Stack, swarm: Swarm) -> None:
    adopted = described(stack)[CACHE]
    del adopted["adoptStack"]
    before = swarm.inspect("service", f"{CACHE}_cache")
    second = f"{CACHE}2"
    stack.configure(caches={second: {**adopted, "label": f"{second}.cache", "port": 8443, "publishMode": "host"}})
    stack.deploy()
    assert swarm.inspect("service", f"{CACHE}_cache") == before
    assert stack.pull(second).blobs
    typed(stack, commands("docs/adopt.md", "Without an outage"), {"worker-7": stack.site.engine.name})
    swarm.wait_until_gone(CACHE)
    assert stack.pull(second).blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))


@pytest.mark.usefixtures("by_hand")
def test_the_cache_on_an_ingress_port_is_taken_over_in_place_while_a_task_runs(stack: Stack, swarm: Swarm) -> None:
    adopted = described(stack)
    stack.configure(caches=adopted)
    service = f"{CACHE}_cache"
    before, listing, running = swarm.inspect("service", service)["ID"], swarm.listing(), []
    words = ("ps", "--quiet", "--filter", f"name={service}.", "--filter", "status=running")
    with repeatedly(lambda: running.append(swarm.docker(*words)), every=0.1):
        assert "; rolling restart, without a gap" in stack.deploy().words
    assert all(running)
    assert len(set(running)) > 1
    assert swarm.inspect("service", service)["ID"] == before
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.deploy()
    stack.must(stack.destroy())
    assert swarm.listing() == {"service": set(), "config": set(), "secret": set(), "labels": listing["labels"]}
    swarm.docker("node", "update", "--label-rm", "dtr.cache", stack.site.engine.name)
