"""The config of a cache made by hand has what differs from the program's defaults, and nothing of its secrets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from msr_cache.commands.adopt import described
from msr_cache.refusal import Refusal
from tests.msr_cache.conftest import THREE_FACTS, node
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
    ],
    ids=["no service", "no port", "no URL", "a value that is not allowed"],
)
def test_what_can_not_be_described_is_an_error_that_says_why(swarm: Engine, told: str) -> None:
    with pytest.raises(Refusal) as refused:
        of(swarm)
    assert told in str(refused.value)
