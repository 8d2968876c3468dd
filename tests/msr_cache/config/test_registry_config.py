"""Settings to config.yml: the seed's own file by default, registryConfig merged over it, mistakes where they stand."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from msr_cache.config import registry_config
from msr_cache.config.settings import Cache
from tests.msr_cache.conftest import settings_with, with_changes
from tests.seed import CONFIG_YAML

SEED = CONFIG_YAML.format(url="https://cache.asia.example.com", msr_url="https://msr.example.com:443")


def rendered(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    return registry_config.render(settings_with(changes), "asia", "generate-random-secret")


def downstream(config: dict[str, Any]) -> dict[str, Any]:
    (entry,) = config["middleware"]["registry"]
    assert entry["name"] == "downstream"
    options: dict[str, Any] = entry["options"]
    return options


def mistakes(changes: dict[str, Any]) -> list[str]:
    return [each.line("msr-cache") for each in registry_config.mistakes(with_changes(deepcopy(changes)))]


def in_order(value: Any) -> Any:
    """Return maps as lists of pairs, so that the order of keys counts too."""
    if isinstance(value, dict):
        return [(key, in_order(inner)) for key, inner in value.items()]
    return [in_order(item) for item in value] if isinstance(value, list) else value


def test_three_facts_give_the_seeds_config_field_by_field_in_its_order() -> None:
    """And the time to end pulls in and the check of the storage, which the seed lacks."""
    config = rendered({"msr.url": "https://msr.example.com:443"})
    assert config["http"].pop("draintimeout") == "9s"
    assert config.pop("health") == {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}}
    assert in_order(config) == in_order(yaml.safe_load(SEED))
    assert in_order(yaml.safe_load(registry_config.to_yaml(config))) == in_order(yaml.safe_load(SEED))


def test_keys_are_those_of_a_cache_that_config_yml_is_rendered_from() -> None:
    read = set()

    class Watched(Cache):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    settings = settings_with()
    watched = Watched.model_validate(settings.caches["asia"].model_dump(by_alias=True, exclude_none=True))
    read.clear()
    registry_config.render(settings.model_copy(update={"caches": {"asia": watched}}), "asia")
    names = {str(field.alias) for name, field in Cache.model_fields.items() if name in read}
    assert names == registry_config.KEYS | {"storage", "registryConfig"}


def test_each_setting_reaches_its_place() -> None:
    config = rendered({".blobTtl": "1h30m", ".logLevel": "debug", ".upstreams": ["http://a.example.com"]})
    assert downstream(config)["blobttl"] == "1h30m"
    assert config["log"]["level"] == "debug"
    assert downstream(config)["upstreams"] == ["http://a.example.com"]


def test_another_storage_takes_the_place_of_the_container_and_may_still_delete() -> None:
    config = rendered({".storage": {"s3": {"region": "eu-west-1", "bucket": "b"}}})
    assert config["storage"].pop("redirect") == {"disable": True}
    assert config["storage"] == {"delete": {"enabled": True}, "s3": {"region": "eu-west-1", "bucket": "b"}}


STORES: dict[str, dict[str, Any]] = {
    "azure": {"accountname": "a", "container": "c", "accountkey": "k"},
    "gcs": {"bucket": "b", "credentials": {"type": "service_account", "private_key": "k"}},
    "oss": {"accesskeyid": "a", "accesskeysecret": "s", "region": "r", "bucket": "b"},
    "s3": {"region": "r", "bucket": "b"},
    "swift": {"username": "u", "password": "p", "authurl": "https://swift", "container": "c"},
}


@pytest.mark.usefixtures("secret_config")
@pytest.mark.parametrize("store", STORES)
def test_clients_are_not_sent_to_a_bucket_unless_the_operator_says_so(store: str) -> None:
    """distribution issues 1073 and 432: often they don't reach it."""
    changes = {".storage": {store: STORES[store]}}
    assert mistakes(changes) == []
    assert rendered(changes)["storage"]["redirect"] == {"disable": True}
    for over in (".storage.redirect", ".registryConfig.storage.redirect"):
        config = rendered({**deepcopy(changes), over: {"disable": False}})
        assert config["storage"]["redirect"] == {"disable": False}


@pytest.mark.parametrize("store", STORES)
def test_a_volume_that_no_blob_would_be_in_is_refused_by_its_key(store: str) -> None:
    changes = {".volume": {"bind": "/srv"}, ".storage": {store: STORES[store]}}
    (line,) = mistakes(changes)
    assert line.startswith(f"msr-cache:caches.asia.volume: found a volume with storage {store}, expected storage files")


@pytest.mark.parametrize("at", [".storage.cache", ".registryConfig.storage.cache"])
@pytest.mark.parametrize(
    "shared", [{".volume": {"bind": "/srv"}, ".storage": {"filesystem": {}}}, {".storage": {"s3": STORES["s3"]}}]
)
def test_replicas_that_share_a_storage_do_not_each_remember_which_blobs_it_holds(
    shared: dict[str, Any], at: str
) -> None:
    """distribution issue 1356: one answers 200, without a body, for a blob that has expired at another."""
    changes = {**shared, ".replicas": 2}
    (line,) = mistakes({**changes, at: {"blobdescriptor": "inmemory"}})
    told = "found 'inmemory', expected redis or none with several replicas: each would serve nothing for a blob that "
    assert line.startswith(f"msr-cache:caches.asia{at}.blobdescriptor: {told}")
    for few in ({}, {".replicas": 0}):
        assert mistakes({**shared, **few, at: {"blobdescriptor": "inmemory"}}) == []
    assert mistakes({".replicas": 2, ".storage": {"filesystem": {}}, at: {"blobdescriptor": "inmemory"}}) == []


@pytest.mark.parametrize("root", ["/", "blobs", ""])
def test_a_volume_can_be_mounted_only_below_the_containers_root(root: str) -> None:
    changes = {".volume": {"bind": "/srv"}, ".storage": {"filesystem": {"rootdirectory": root}}}
    (line,) = mistakes(changes)
    told = f"found {root!r}, expected an absolute path below /, because the volume is mounted there"
    assert line == f"msr-cache:caches.asia.storage.filesystem.rootdirectory: {told}"


def test_the_systems_trust_needs_no_cas() -> None:
    assert "cas" not in downstream(rendered({"msr.ca": "system"}))


def test_a_pinned_ca_is_mounted_where_the_seed_has_it() -> None:
    assert downstream(rendered({"msr.ca": {"sha256": "0a" * 32}}))["cas"] == ["/run/secrets/dtr.cert.pem"]


# registryConfig


def test_registry_config_is_merged_map_by_map() -> None:
    over = {"log": {"formatter": "json"}, "http": {"tls": {"minimumtls": "tls1.2"}}, "redis": {"addr": "r:6379"}}
    config = rendered({".registryConfig": over})
    base = rendered()
    assert config["log"] == {"level": "info", "formatter": "json"}
    assert config["http"]["tls"] == {**base["http"]["tls"], "minimumtls": "tls1.2"}
    assert config["redis"] == {"addr": "r:6379"}
    assert config["middleware"] == base["middleware"]


def test_a_value_or_list_of_registry_config_takes_the_seeds_place() -> None:
    options = {"upstreams": ["https://leaf.example.com"]}
    over = {"http": {"addr": "127.0.0.1:443"}, "middleware": {"registry": [{"name": "downstream", "options": options}]}}
    config = rendered({".registryConfig": over})
    assert config["http"]["addr"] == "127.0.0.1:443"
    assert downstream(config) == options


def test_a_map_takes_the_place_of_a_value_and_a_value_that_of_a_map() -> None:
    config = rendered({".registryConfig": {"version": {"a": 1}, "log": "info"}})
    assert (config["version"], config["log"]) == ({"a": 1}, "info")


def test_null_removes_a_key() -> None:
    over = {"log": None, "http": {"tls": {"key": None, "certificate": None}, "net": None}}
    config = rendered({".registryConfig": over})
    assert "log" not in config
    assert config["http"]["tls"] == {}
    assert "net" not in config["http"]


@pytest.mark.parametrize(
    "over", [{"http": None}, {"http": {"tls": None}}, {"http": {"tls": {"certificate": None, "key": None}}}]
)
def test_a_null_that_would_remove_tls_is_refused(over: dict[str, Any]) -> None:
    (line,) = mistakes({".registryConfig": over})
    assert line.startswith("msr-cache:caches.asia.registryConfig.http.tls: found no certificate and no key")


def test_rendering_leaves_the_settings_as_they_are() -> None:
    over = {"log": {"formatter": "json"}, "storage": {"filesystem": {"maxthreads": 200}}}
    settings = settings_with({".registryConfig": over})
    before = deepcopy(settings.model_dump())
    registry_config.render(settings, "asia")
    assert settings.model_dump() == before


# Mistakes


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({".registryConfig": {"loog": {}}}, "registryConfig.loog: unknown key; did you mean log?"),
        ({".registryConfig": {"version": 0.2}}, "registryConfig.version: found 0.2, expected 0.1"),
        ({".registryConfig": {"middleware": None}}, "registryConfig.middleware: missing"),
        ({".registryConfig": {"storage": 5}}, "registryConfig.storage: expected a map, found a number"),
        ({".registryConfig": {"storage": None}}, "registryConfig.storage: missing"),
        (
            {".registryConfig": {"storage": {"delete": {"enabled": False}}}},
            "registryConfig.storage.delete.enabled: found false, expected true",
        ),
        (
            {".registryConfig": {"storage": {"s3": {"region": "eu", "bucket": "b"}}}},
            "registryConfig.storage: found filesystem and s3; set exactly one of",
        ),
        (
            {".registryConfig": {"storage": {"filesystem": {"rootdir": "/x"}}}},
            "registryConfig.storage.filesystem.rootdir: unknown key; did you mean rootdirectory?",
        ),
        # What the operator wrote below `storage` is reported there.
        ({".storage": {"s4": {}}}, "storage"),
        ({".storage": {}}, "storage: found none; set exactly one of"),
        ({".storage": {"s3": {"bucket": "b"}}}, "storage.s3.region: missing"),
        ({".storage": {"filesystem": {"rootdir": "/x"}}}, "storage.filesystem.rootdir: unknown key"),
        (
            {".storage": {"filesystem": {}, "delete": {"enabled": False}}},
            "storage.delete.enabled: found false, expected true",
        ),
        (
            {".storage": {"filesystem": {"rootdir": "/x"}}, ".registryConfig": {"storage": {"cache": {}}}},
            "storage.filesystem.rootdir: unknown key",
        ),
        (
            {key: {"filesystem": {"rootdir": "/x"}} for key in (".storage", ".registryConfig.storage")},
            "registryConfig.storage.filesystem.rootdir: unknown key",
        ),
        (
            {".storage": {"s3": {"bucket": "b"}}, ".registryConfig": {"storage": {"s3": {"encrypt": "yes"}}}},
            "registryConfig.storage.s3.encrypt: found 'yes', expected true or false",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_reported_at_the_key_where_it_was_written(changes: dict[str, Any], line: str) -> None:
    found = mistakes(changes)
    assert found
    assert all(each.startswith("msr-cache:caches.asia.") for each in found)
    assert found[0].startswith(f"msr-cache:caches.asia.{line}")


# Text


@pytest.mark.usefixtures("secret_config")
def test_secrets_are_masked_and_nothing_else_is() -> None:
    changes = {
        ".storage": {"s3": {"region": "eu", "bucket": "b", "accesskey": "hunter2", "secretkey": "hunter3"}},
        ".registryConfig": {"http": {"secret": "hunter4"}, "redis": {"addr": "r:6379", "password": "hunter5"}},
    }
    config = registry_config.render(settings_with(changes), "asia", "hunter6")
    text = registry_config.masked_yaml(config)
    assert "hunter" not in text
    config["http"]["secret"] = config["redis"]["password"] = "[secret]"
    config["storage"]["s3"] |= {"accesskey": "[secret]", "secretkey": "[secret]"}
    assert yaml.safe_load(text) == config


@pytest.mark.parametrize("text", ["0", "24h", "yes", "1e3", "0x10", "null", "0.0.0.0:443", "12:30:45", "a: b", "- a"])
def test_text_is_still_text_when_the_registry_reads_it(text: str) -> None:
    assert yaml.safe_load(registry_config.to_yaml({"key": text})) == {"key": text}
