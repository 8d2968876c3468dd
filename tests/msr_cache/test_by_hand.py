"""A cache made by hand: the config that describes it, with nothing of its secrets, and what taking it over changes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from msr_cache.by_hand import described
from msr_cache.refusal import Refusal
from msr_cache.swarm.ownership import Owner
from msr_cache.x509.pem import sha256_of
from tests.msr_cache.conftest import CACHE_TLS, PROJECT, STACK, STATE_ID, THREE_FACTS, Program, declared, node
from tests.msr_cache.engine import Engine
from tests.seed import CONFIG_YAML, IMAGE

URL, MSR = "https://cache.asia.example.com", "https://msr.example.com"


def by_hand(spec: Mapping[str, Any] | None = None, config: str = CONFIG_YAML, label: str = "dtr.cache") -> Engine:
    """Return a swarm with what `docker stack deploy` makes of the manual page's files, or of changed ones."""
    swarm = Engine(node("worker-7", **{label: "true"}), node("worker-8", **{label: "true"}), node("worker-9"))
    data = base64.b64encode(config.format(url=URL, msr_url=MSR).encode()).decode()
    config_yml = swarm.add("configs", {"Name": "asia_config.yml", "Data": data, "Labels": {}})
    service = {
        "Name": "asia_cache",
        "Labels": {"com.docker.stack.namespace": "asia"},
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": f"{IMAGE}@sha256:{'0b' * 32}",
                "Configs": [{"File": {"Name": "config.yml"}, "ConfigID": config_yml["ID"]}],
            },
            "Placement": {"Constraints": [f"node.labels.{label} == true"]},
        },
        "EndpointSpec": {"Ports": [{"TargetPort": 443, "PublishedPort": 443, "PublishMode": "ingress"}]},
    }
    swarm.add("services", {**service, **(spec or {})})
    return swarm


def of(swarm: Engine, **msr: Any) -> dict[str, Any]:
    return described(swarm.manager, "asia", THREE_FACTS | {"msr": THREE_FACTS["msr"] | msr})


def test_of_the_manual_pages_cache_only_the_facts_are_printed() -> None:
    facts = {"fqdn": "cache.asia.example.com", "nodes": ["worker-7", "worker-8"]}
    assert of(by_hand()) == {**facts, "image": IMAGE}
    assert of(by_hand(), version="2.8.2") == facts


def test_what_differs_from_the_defaults_is_printed_at_the_key_that_has_it() -> None:
    ports = {"EndpointSpec": {"Ports": [{"TargetPort": 443, "PublishedPort": 8443, "PublishMode": "host"}]}}
    config = CONFIG_YAML.replace("blobttl: 24h", "blobttl: 48h").replace("level: info", "level: debug")
    config = config.replace("{url}", "{url}:8443").replace("0.0.0.0:443", "0.0.0.0:8443")
    config = config.replace("filesystem:\n    rootdirectory: /var/lib/registry", "inmemory: {{}}")
    found = of(by_hand({**ports, "Mode": {"Replicated": {"Replicas": 2}}}, config, label="asia.cache"))
    assert found == {
        "nodes": ["worker-7", "worker-8"],
        "port": 8443,
        "publishMode": "host",
        "replicas": 2,
        "image": IMAGE,
        "label": "asia.cache",
        "fqdn": "cache.asia.example.com",
        "blobTtl": "48h",
        "logLevel": "debug",
        "storage": {"inmemory": {}},
    }


def test_the_port_of_a_load_balancer_is_printed_beside_the_published_one() -> None:
    ports = {"EndpointSpec": {"Ports": [{"TargetPort": 8443, "PublishedPort": 8443, "PublishMode": "ingress"}]}}
    found = of(by_hand(ports, CONFIG_YAML.replace("0.0.0.0:443", "0.0.0.0:8443")))
    assert (found["port"], found["externalPort"]) == (8443, 443)


def test_the_environment_is_printed_but_for_its_credentials() -> None:
    swarm = by_hand()
    container = swarm.service["Spec"]["TaskTemplate"]["ContainerSpec"]
    container["Env"] = ["HTTPS_PROXY=http://ops:hunter2@proxy:3128", "NO_PROXY=.example.com"]
    secret = "to be set with pulumi config set --path --secret"
    assert of(swarm)["environment"] == {"HTTPS_PROXY": secret, "NO_PROXY": ".example.com"}


def test_a_default_of_the_program_is_printed_where_the_stacks_own_would_change_it() -> None:
    raw = {**THREE_FACTS, "cacheDefaults": {"port": 8443, "tls": {"renewDays": 60}}}
    found = described(by_hand().manager, "asia", raw)
    assert found["port"] == 443
    assert "blobTtl" not in found


def test_what_no_key_covers_is_printed_below_registry_config_and_no_secret_is() -> None:
    config = CONFIG_YAML.replace("http:\n", "http:\n  headers: {{X-Site: [asia]}}\n", 1)
    found = of(by_hand(config=config))
    assert found["registryConfig"] == {"http": {"headers": {"X-Site": ["asia"]}}}
    assert "generate-random-secret" not in yaml.safe_dump(found)


def test_a_key_of_the_storage_is_not_printed() -> None:
    s3 = "s3: {{region: eu, bucket: layers, secretkey: hunter2}}"
    config = CONFIG_YAML.replace("filesystem:\n    rootdirectory: /var/lib/registry", s3)
    config = config.replace("http:\n", "notifications: {{endpoints: [{{url: 'https://u:hunter2@hook'}}]}}\nhttp:\n", 1)
    found = of(by_hand(config=config))
    assert found["storage"]["s3"]["secretkey"] == "[secret]"
    assert found["registryConfig"]["notifications"]["endpoints"] == [{"url": "[secret]"}]
    assert "hunter2" not in yaml.safe_dump(found)


@pytest.mark.parametrize(
    ("swarm", "told"),
    [
        (Engine(), "found no service asia_cache"),
        (by_hand({"EndpointSpec": {}}), "no published port"),
        (by_hand(config="http: {{host: 'cache'}}"), "found http.host cache, expected the cache's URL"),
        (by_hand(config=CONFIG_YAML.replace("24h", "soon")), "msr-cache:caches.asia.blobTtl: found 'soon'"),
        (by_hand(config=CONFIG_YAML.replace("{msr_url}", "https://a")), "upstreams[0]: found https://a without ca"),
    ],
    ids=["no service", "no port", "no URL", "a value that is not allowed", "values that do not fit together"],
)
def test_what_can_not_be_described_is_an_error_that_says_why(swarm: Engine, told: str) -> None:
    with pytest.raises(Refusal) as refused:
        of(swarm)
    assert told in str(refused.value)


# Taking it over

ADOPT = {".adoptStack": True}
SERVED = "ssl.get_server_certificate"


@pytest.fixture
def said(told: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what a run tells, while the cache serves a certificate."""
    monkeypatch.setattr(SERVED, lambda *_, **__: CACHE_TLS.certificate)
    return told


def adopting(swarm: Engine, **changes: Any) -> Program:
    return declared({**ADOPT, **changes}, swarm)


@pytest.mark.usefixtures("said")
def test_the_service_of_the_docker_stack_is_imported_and_then_changed_in_place() -> None:
    swarm = by_hand()
    service = adopting(swarm).one("Service").request
    assert service.importId == swarm.service["ID"]
    assert service.protect, "until the next run: a destroy after an update that failed must leave it"
    assert (service.deleteBeforeReplaceDefined, service.deleteBeforeReplace) == (True, False)
    networks = "taskSpec.networksAdvanceds"
    assert networks in service.ignoreChanges, "the provider would replace the service to remove it"
    swarm.service["Spec"]["Labels"] = Owner(PROJECT, STACK, "asia", STATE_ID).labels("service")
    another_run = by_hand()  # a run is kept by the swarm that it was with
    another_run.kinds = swarm.kinds
    later = adopting(another_run).one("Service").request
    assert (later.importId, later.protect, later.deleteBeforeReplace) == ("", False, True)
    assert networks in later.ignoreChanges
    assert networks not in declared().one("Service").request.ignoreChanges


def test_a_run_says_what_differs_from_the_settings_line_by_line(said: list[str]) -> None:
    config = CONFIG_YAML.replace("blobttl: 24h", "blobttl: 48h").replace("secret: generate", "secret: hunter2")
    swarm = by_hand({"Mode": {"Replicated": {"Replicas": 2}}}, config)
    container = swarm.service["Spec"]["TaskTemplate"]["ContainerSpec"]
    container |= {"Env": ["TOKEN=hunter2"], "Mounts": [{"Source": "blobs", "Target": "/var/lib/registry"}]}
    adopting(swarm, **{".nodes": ["worker-7"]})
    assert "".join(said) == (
        "asia: takes over the service of docker stack asia: config.yml changes (health.storagedriver.enabled none => "
        "true, health.storagedriver.interval none => 10s, health.storagedriver.threshold none => 3, http.draintimeout "
        "none => 9s, middleware.registry.0.options.blobttl 48h => 24h), environment.TOKEN changes, image "
        f"{IMAGE} => mirantis/dtr-content-cache:2.9.0, mounts blobs:/var/lib/registry => none, nodes worker-7, "
        "worker-8 => worker-7, replicas 2 => 1; rolling restart, without a gap, the cache moves, about 5 s without "
        "service unless another replica serves"
    )


@pytest.mark.parametrize("given", ["another", "the same", "none"])
def test_a_certificate_that_clients_may_not_trust_is_told_with_the_one_that_the_cache_serves(
    said: list[str], given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del said
    (tmp_path / "key.pem").write_text(CACHE_TLS.key)
    tls = {"source": "provided", "certificate": CACHE_TLS.certificate, "ca": CACHE_TLS.ca, "key": f"{tmp_path}/key.pem"}
    mine, other = sha256_of(CACHE_TLS.certificate), "d" * 64
    if given == "another":
        monkeypatch.setattr("msr_cache.by_hand._served", lambda *_: other)
    program = adopting(by_hand(), **({} if given == "none" else {".tls": tls}))
    assert not program.error
    found = [each for each in program.warnings if "must" in each or "serves" in each]
    if given == "the same":
        assert not found
    else:
        then = "a new one, which this run makes" if given == "none" else f"the one with SHA-256 {mine}"
        now = mine if given == "none" else other
        assert found[0].startswith(
            f"msr-cache:caches.asia.tls: the cache serves the certificate with SHA-256 {now}, after the restart {then}"
        )


def test_a_certificate_that_this_machine_can_not_get_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> str:
        raise ConnectionRefusedError

    monkeypatch.setattr(SERVED, refused)
    told = "the cache serves a certificate that this machine can't get, after the restart a new one"
    assert any(told in each for each in adopting(by_hand()).warnings)


HOSTS = {"Image": IMAGE, "Hosts": ["10.0.0.1 msr.example.com"]}
OTHER_STATE = Owner(PROJECT, STACK, "asia", "f00000000000").labels("service")


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize(
    ("swarm", "told"),
    [
        (Engine(node("worker-7")), "adoptStack: found no service asia_cache, expected the one of docker stack deploy"),
        (by_hand({"Mode": {"Global": {}}}), "adoptStack: found another mode than replicated in service"),
        (by_hand({"TaskTemplate": {"ContainerSpec": HOSTS}}), "adoptStack: found extra_hosts in service asia_cache"),
        (by_hand({"EndpointSpec": {}}), "adoptStack: service asia_cache has no published port"),
        (by_hand(config="a: [{{"), "adoptStack: config.yml: found what is no YAML"),
        (
            by_hand({"Labels": {"com.docker.stack.namespace": "msr"}}),
            "already exists and belongs to docker stack msr",
        ),
        (by_hand({"Labels": {}}), "belongs to an owner that its labels do not name"),
        (by_hand({"Labels": OTHER_STATE}), "belongs to msr-cache stack"),
    ],
    ids=["none", "global", "hosts", "no port", "no YAML", "another docker stack", "no stack", "another state"],
)
def test_what_can_not_be_taken_over_ends_the_run_before_anything_is_declared(swarm: Engine, told: str) -> None:
    program = adopting(swarm)
    assert told in program.error
    assert {each.kind for each in program.resources} <= {"StateId"}


@pytest.mark.usefixtures("said")
def test_without_the_key_a_docker_stacks_service_is_refused() -> None:
    assert "already exists and belongs to docker stack" in declared({}, by_hand()).error
