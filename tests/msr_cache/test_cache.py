"""A cache's component: what it declares, under which parent, after what, and what of it may be seen."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pulumi
import pytest
import yaml

from msr_cache.rollout import trial
from tests.msr_cache.conftest import CACHE_TLS, DYNAMIC, MSR_TLS, SECRETS, STATE_ID, Declared, declared, plain, visible

TWO_NODES = {".nodes": ["worker-7", "worker-8"]}
# Name and type of all that belongs to cache asia on two nodes.
CHILDREN = {
    "asia-worker-7": f"{DYNAMIC}NodeLabel",
    "asia-worker-8": f"{DYNAMIC}NodeLabel",
    "asia-cache.key.pem": "tls:index/privateKey:PrivateKey",
    "asia-cache.cert.pem": "tls:index/selfSignedCert:SelfSignedCert",
    "asia-settings": f"{DYNAMIC}CacheSettings",
    "asia-http.secret": f"{DYNAMIC}HttpSecret",
    "asia-config.yml-file": f"{DYNAMIC}SwarmSecret",
    "asia-dtr.cert.pem-file": f"{DYNAMIC}SwarmSecret",
    "asia-cache.cert.pem-file": f"{DYNAMIC}SwarmSecret",
    "asia-cache.key.pem-file": f"{DYNAMIC}SwarmSecret",
    "asia-image": f"{DYNAMIC}Image",
    "asia-service": "docker:index/service:Service",
    "asia-rollout": f"{DYNAMIC}Rollout",
}


def names(dependencies: set[str]) -> set[str]:
    return {urn.rpartition("::")[2] for urn in dependencies}


def children(changes: dict[str, Any]) -> dict[str, Declared]:
    program = declared(changes)
    component = program.one("MsrCache")
    return {resource.name: resource for resource in program.resources if resource.parent == component.urn}


def test_a_cache_is_a_component_and_all_that_belongs_to_it_its_children() -> None:
    assert declared(TWO_NODES).one("MsrCache").type == "msr:cache:MsrCache"
    assert {name: child.type for name, child in children(TWO_NODES).items()} == CHILDREN


def test_every_resource_beside_the_component_is_shared_by_all_caches() -> None:
    program = declared(TWO_NODES)
    others = [each for each in program.resources if each.name not in CHILDREN]
    assert {each.name: each.kind for each in others} == {
        "state-id": "StateId",
        "msr-ca": "MsrCa",
        "swarm": "docker",
        "tls": "tls",
        "asia": "MsrCache",
    }


def test_no_logical_name_holds_what_can_move() -> None:
    """A name is an identity to Pulumi: with a port in it a changed port would be another resource."""
    moved = {
        **TWO_NODES,
        ".fqdn": "10.1.2.3",
        ".port": 8443,
        ".image": "10.1.2.4:5000/cache:2.9.1",
        "msr.url": "https://10.1.2.5:4443",
        "swarm": {"host": "tcp://10.1.2.6:2376"},
    }
    assert {each.name for each in declared(moved).resources} == {each.name for each in declared(TWO_NODES).resources}


def test_every_provider_is_explicit() -> None:
    """A default provider would take its address from the environment of whoever runs the program."""
    program = declared()
    owners = {each.name: each.provider.split("::")[-2] for each in program.resources if each.provider}
    providers = {"asia-service": "swarm", "asia-cache.key.pem": "tls", "asia-cache.cert.pem": "tls"}
    assert owners == providers
    ours = [each for each in program.resources if not each.type.startswith((DYNAMIC, "msr:", "pulumi:providers:"))]
    assert {each.name for each in ours} == set(providers)


def test_nothing_of_the_swarm_is_touched_before_msrs_ca_is_known_to_be_right() -> None:
    kept_back = [child for child in children(TWO_NODES).values() if child.type.startswith(DYNAMIC)]
    assert len(kept_back) == 10
    assert all("msr-ca" in names(child.dependencies) for child in kept_back)
    # The service comes after those that it is made of.
    assert "asia-config.yml-file" in names(declared(TWO_NODES).one("Service").dependencies)


def test_the_service_comes_after_labels_and_files_and_the_rollout_after_the_service() -> None:
    service, rollout = (declared(TWO_NODES).one(kind) for kind in ("Service", "Rollout"))
    parts = {name for name, kind in CHILDREN.items() if kind.endswith(("Label", "SwarmSecret", "Image"))}
    assert parts <= names(service.dependencies)
    assert "asia-service" in names(rollout.dependencies)


def test_up_records_changed_settings_after_the_rollout() -> None:
    """Otherwise the way back from a failed trial would announce a restart that doesn't happen."""
    kinds = [resource.kind for resource in declared().resources]
    assert kinds.index("CacheSettings") > kinds.index("Rollout")


def test_the_service_is_guarded_before_it_is_created_in_previews_too_and_before_it_is_updated() -> None:
    program = declared()
    service = program.one("Service")
    assert service.hooks == {"before_create": ["asia-refuse-foreign"], "before_update": ["asia-trial"]}
    dry = {
        name: bool(hook.opts and hook.opts.on_dry_run)
        for name, hook in program.hooks.items()
        if isinstance(hook, pulumi.ResourceHook)
    }
    ours = {
        "asia-refuse-foreign": True,
        "asia-trial": False,
        "asia-changes": True,
        "asia-conflicts": False,
        "asia-renewal": True,
        "asia-move": False,
        "asia-wait": False,
    }
    assert dry == ours


def test_the_rollout_is_waited_for_by_the_program_whose_threads_are_many() -> None:
    rollout = declared().one("Rollout")
    assert rollout.hooks == {
        "before_create": ["asia-wait"],
        "before_update": ["asia-renewal", "asia-move", "asia-wait"],
    }


def test_caches_are_tried_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK runs all hooks on one event loop: a hook that waits there keeps all others waiting."""
    both_wait = threading.Barrier(2)
    monkeypatch.setattr(trial, "before_update", lambda *_, **__: both_wait.wait(10))
    hook = declared().hooks["asia-trial"]
    assert isinstance(hook, pulumi.ResourceHook)

    async def run() -> None:
        args = pulumi.ResourceHookArgs("urn", "id", "asia", "type")
        await asyncio.gather(*(hook.callback(args) for _ in range(2)))

    asyncio.run(run())


def test_each_node_gets_the_label_that_places_the_cache() -> None:
    labels = {each.name: plain(each.inputs) for each in declared(TWO_NODES).of("NodeLabel")}
    assert labels.keys() == {"asia-worker-7", "asia-worker-8"}
    for name, label in labels.items():
        wanted = {
            "node": name.removeprefix("asia-"),
            "key": "dtr.cache",
            "value": "true",
            "owner": "msr-cache/prod/asia",
            "state": STATE_ID,
            "nodeId": f"id-of-{name.removeprefix('asia-')}",
        }
        assert {key: label[key] for key in wanted} == wanted


# Files


def data_of(name: str, changes: dict[str, Any] | None = None) -> Any:
    return plain(declared(changes).one("SwarmSecret", name).inputs["data"])


def test_the_secrets_hold_what_the_seed_has_in_its_certs_folder() -> None:
    assert data_of("asia-dtr.cert.pem-file") == MSR_TLS.ca
    assert data_of("asia-cache.cert.pem-file") == CACHE_TLS.certificate
    assert data_of("asia-cache.key.pem-file") == SECRETS["key"]


def test_config_yml_is_a_secret_too_with_the_http_secret_that_all_replicas_share() -> None:
    """Behind a balancer, a client comes to another replica with each request: distribution issues 1576 and 2519."""
    config = yaml.safe_load(data_of("asia-config.yml-file"))
    assert config["http"]["secret"] == SECRETS["http.secret"]
    assert config["http"]["host"] == "https://cache.asia.example.com"


def test_the_name_of_config_yml_is_salted_with_what_nobody_can_guess() -> None:
    salts = {each.name: each.inputs["salt"] for each in declared().of("SwarmSecret") if each.inputs.get("salt")}
    assert plain(salts) == {"asia-config.yml-file": SECRETS["http.secret"]}
    assert visible(salts) == {"asia-config.yml-file": "[secret]"}


@pytest.mark.usefixtures("secret_config")
def test_an_http_secret_of_the_operators_own_takes_the_random_ones_place() -> None:
    changes = {".registryConfig": {"http": {"secret": "hunter2"}}}
    assert yaml.safe_load(data_of("asia-config.yml-file", changes))["http"]["secret"] == "hunter2"


def test_files_are_labelled_as_the_caches_and_named_after_it() -> None:
    program = declared()
    files = {each.name: plain(each.inputs) for each in program.of("SwarmSecret")}
    for name, file in files.items():
        part = name.removeprefix("asia-").removesuffix("-file")
        assert file["prefix"] == f"asia_{part}"
        assert file["labels"] == {
            "com.docker.stack.namespace": "asia",
            "msr-cache.owner": "msr-cache/prod/asia",
            "msr-cache.state": STATE_ID,
            "msr-cache.resource": part,
        }
    assert len(files) == 4


ALWAYS = {"asia-config.yml-file", "asia-cache.cert.pem-file", "asia-cache.key.pem-file"}


def test_msr_3_has_a_file_name_of_its_own_and_the_systems_trust_none() -> None:
    secrets = {each.name for each in declared({"msr.version": "3.1"}).of("SwarmSecret")}
    assert secrets == {*ALWAYS, "asia-msr.cert.pem-file"}
    program = declared({"msr.ca": "system"})
    assert {each.name for each in program.of("SwarmSecret")} == ALWAYS
    assert program.of("MsrCa") == []
    assert program.outputs["caches"]["asia"].get("msrCaSha256") is None


def test_the_service_mounts_the_files_by_the_names_that_their_contents_give() -> None:
    container = plain(declared().one("Service").inputs)["taskSpec"]["containerSpec"]
    mounted = {file["fileName"]: file["secretId"] for file in container["secrets"]}
    parts = ("dtr.cert.pem", "cache.cert.pem", "cache.key.pem")
    files = {part: f"id-of-asia-{part}-file" for part in parts}
    assert mounted == {"/config.yml": "id-of-asia-config.yml-file", **files}


# What may be seen

OWN_SECRETS = {
    ".registryConfig": {"http": {"secret": "canary-of-the-operators-secret"}},
    ".storage": {"s3": {"region": "eu", "bucket": "b", "accesskey": "canary-id", "secretkey": "canary-of-s3"}},
}


@pytest.mark.parametrize("changes", [{}, OWN_SECRETS], ids=["three facts", "the operator's own"])
@pytest.mark.usefixtures("secret_config")
def test_no_secret_is_in_the_clear_in_any_request_or_output(changes: dict[str, Any]) -> None:
    program = declared(changes)
    held = json.dumps([plain(each.inputs) for each in program.resources])
    for canary in SECRETS.values() if not changes else ["canary-of-the-operators-secret", "canary-id", "canary-of-s3"]:
        assert canary in held  # else the next line would prove nothing
    seen = {each.name: visible(each.inputs) for each in program.resources}
    assert "canary" not in json.dumps([seen, program.visible_outputs, program.warnings])


def test_the_content_of_every_file_is_secret() -> None:
    """Whoever adds a file need not know whether it holds one."""
    program = declared()
    files = program.of("SwarmSecret")
    assert {each.name: visible(each.inputs["data"]) for each in files} == {each.name: "[secret]" for each in files}


# The rollout


def digest(changes: dict[str, Any] | None = None) -> str:
    found = plain(declared(changes).one("Rollout").inputs)
    assert found["service"] == "id-of-asia-service"
    value = found["specSha256"]
    assert len(value) == 64
    return str(value)


@pytest.mark.parametrize(
    "changes", [{".port": 8443}, {".replicas": 2}, {".blobTtl": "1h"}, {".label": "rack.cache"}, {".image": "c:2.9.1"}]
)
def test_a_changed_service_is_seen_through_again(changes: dict[str, Any]) -> None:
    assert digest(changes) != digest()


def test_what_changes_no_service_rolls_nothing_out() -> None:
    assert digest({"swarm": {"host": "tcp://10.1.2.6:2376"}}) == digest()
    assert digest(TWO_NODES) == digest()
