"""What all caches have in common is written once, and a mistake is reported where it was written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from msr_cache.config import cache_defaults
from msr_cache.config.validation import checked
from msr_cache.refusal import Refusal
from tests.msr_cache.conftest import PROJECT, STACK, as_engine_gives, with_changes

pytestmark = pytest.mark.usefixtures("secret_config")
EUROPE = {"fqdn": "cache.eu.example.com", "nodes": ["worker-8"], "label": "eu.cache"}


@pytest.fixture(autouse=True)
def in_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_project", lambda: PROJECT)
    monkeypatch.setattr(pulumi, "get_stack", lambda: STACK)
    monkeypatch.setattr("msr_cache.config.plain_text.stack_file", dict)


def lines(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(Refusal) as refused:
        checked(as_engine_gives(with_changes(changes)), PROJECT)
    return str(refused.value).splitlines()[1:]


def test_a_cache_has_what_the_defaults_say_and_its_own_values_over_them() -> None:
    defaults = {"port": 8443, "blobTtl": "48h", "tls": {"renewDays": 60, "keyType": "ecdsaP256"}, "label": "a.cache"}
    own = {"caches.europe": {**EUROPE, "blobTtl": "1h", "tls": {"renewDays": 10}, "port": 9443}}
    settings, _ = checked(as_engine_gives(with_changes({"cacheDefaults": defaults, **own})), PROJECT)
    asia, europe = settings.caches["asia"], settings.caches["europe"]
    assert (asia.port, asia.blob_ttl, asia.tls.renew_days, asia.tls.key_type) == (8443, "48h", 60, "ecdsaP256")
    assert (europe.port, europe.blob_ttl, europe.tls.renew_days, europe.tls.key_type) == (9443, "1h", 10, "ecdsaP256")
    assert (settings.label_of("asia"), settings.label_of("europe")) == ("a.cache", "eu.cache")


def test_null_in_a_cache_takes_the_programs_default_and_a_list_replaces_the_defaults_one() -> None:
    changes = {"cacheDefaults": {"blobTtl": "48h", "nodes": ["worker-1", "worker-2"]}, ".blobTtl": None}
    settings, _ = checked(as_engine_gives(with_changes(changes)), PROJECT)
    assert settings.caches["asia"].blob_ttl == "24h"
    assert settings.caches["asia"].nodes == ["worker-7"]


def test_a_mistake_in_the_defaults_is_reported_once_and_there() -> None:
    found = lines({"cacheDefaults": {"blobTTL": "24h", "tls": {"renewDays": -1}}, "caches.europe": EUROPE})
    assert [line.partition(": ")[0] for line in found] == [
        "msr-cache:cacheDefaults.tls.renewDays",
        "msr-cache:cacheDefaults.blobTTL",
    ]


def test_a_mistake_in_a_cache_is_reported_at_the_cache() -> None:
    found = lines({"cacheDefaults": {"tls": {"renewDays": 10}}, ".tls": {"renewDays": -1}})
    assert [line.partition(": ")[0] for line in found] == ["msr-cache:caches.asia.tls.renewDays"]


def test_what_the_defaults_can_not_give_every_cache_is_reported_at_the_defaults() -> None:
    europe = {**EUROPE, "port": 8443}
    (line,) = lines({"cacheDefaults": {"label": "a.cache"}, "caches.europe": {**europe, "label": "a.cache"}})
    assert line.startswith("msr-cache:caches.europe.label: found 'a.cache', which places cache asia too")
    del europe["label"]
    (line,) = lines({"cacheDefaults": {"label": "a.cache"}, "caches.europe": europe})
    assert line.startswith("msr-cache:cacheDefaults.label: found 'a.cache', which places cache asia too")
    (line,) = lines({"cacheDefaults": {"port": 0}})
    assert line.startswith("msr-cache:cacheDefaults.port: found 0")


def test_a_mistake_in_config_yml_is_reported_at_the_defaults_key_that_has_it() -> None:
    found = lines({"cacheDefaults": {"storage": {"s3": {"regio": "eu-west-1"}}, "registryConfig": {"htp": {}}}})
    assert {line.partition(": ")[0] for line in found} == {
        "msr-cache:cacheDefaults.storage.s3.regio",
        "msr-cache:cacheDefaults.storage.s3.bucket",
        "msr-cache:cacheDefaults.storage.s3.region",
        "msr-cache:cacheDefaults.registryConfig.htp",
    }


def test_a_secret_in_plain_text_is_found_in_the_defaults_too() -> None:
    secret = {"storage": {"s3": {"region": "eu", "bucket": "b", "secretkey": "hunter2"}}}
    (line,) = lines({"cacheDefaults": secret})
    assert line.startswith("msr-cache:cacheDefaults.storage.s3.secretkey: found a secret in plain text")
    assert "hunter2" not in line


@pytest.mark.parametrize("wrong", [[], "x", 1, None], ids=["list", "text", "number", "null"])
def test_defaults_that_are_no_map_are_refused(wrong: object) -> None:
    assert cache_defaults.applied({"cacheDefaults": wrong, "caches": {}}) == {"cacheDefaults": wrong, "caches": {}}
    if wrong != "x":  # which as_engine_gives passes as text
        (line,) = lines({"cacheDefaults": wrong})
        assert line.startswith("msr-cache:cacheDefaults: expected a map, found")


def test_the_files_of_the_how_to_for_pulumi_esc_are_a_config() -> None:
    """Pulumi merges them by key, as the engine has them then."""
    page = (Path(__file__).parents[3] / "docs/sites.md").read_text()
    shared, site = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    assert site["environment"] == ["msr-cache/shared"]
    config = shared["values"]["pulumiConfig"] | site["config"]
    config["msr-cache:msr"] |= {"token": "what ESC decrypts", "ca": {"sha256": "0a3f" * 16}}
    settings, _ = checked({key: json.dumps(value) for key, value in config.items()}, PROJECT)
    assert settings.caches["sydney"].publish_mode == "host"
