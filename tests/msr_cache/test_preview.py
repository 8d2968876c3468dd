"""What a preview says of a cache first: each change in a sentence, and a warning for what clients must do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.output import Unknown

from msr_cache.preview import flat
from msr_cache.x509.pem import sha256_of
from tests.certificates import HOST, make
from tests.msr_cache.conftest import CACHE_TLS, Program, declared, plain

HOST_PORT = {".publishMode": "host"}
OLD, URL = sha256_of(CACHE_TLS.certificate), "https://cache.asia.example.com"
EUROPE = {"fqdn": "cache.eu.example.com", "nodes": ["worker-8"], "port": 8443, "label": "eu.cache"}


def inputs(program: Program) -> dict[str, Any]:
    """Return what the cache's settings hold, numbers as the engine has them."""
    found = plain(program.one("CacheSettings", "asia-settings").inputs)
    return {key: float(value) if type(value) is int else value for key, value in found.items()}


def told(
    before: dict[str, Any], after: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **unknown: Any
) -> tuple[str, list[str]]:
    """Return sentence and warnings of a preview of the change; `unknown` replaces new values.

    As the SDK does, the hook is given maps with a secret inside as Outputs: here, all environments.
    """
    old, program = inputs(declared(before)), declared(after)
    said: list[str] = []
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", said.append)
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)

    async def call() -> None:
        given = [
            {key: pulumi.Output.secret(value) if key == "environment" else value for key, value in each.items()}
            for each in (inputs(program) | unknown, old)
        ]
        args = pulumi.ResourceHookArgs("urn", "id", "asia-settings", "type", *given)
        await program.hooks["asia-changes"].callback(args)

    asyncio.run(call())
    return "".join(said), warned


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            HOST_PORT,
            {".blobTtl": "36h"},
            "config.yml changes (blobTtl 24h => 36h); rolling restart, about 1 s without service on a host port",
        ),
        ({}, {".blobTtl": "36h"}, "config.yml changes (blobTtl 24h => 36h); rolling restart, without a gap"),
        (
            {".update": {"order": "stop-first"}},
            {".blobTtl": "36h"},
            "config.yml changes (blobTtl 24h => 36h); rolling restart, about 1 s without service",
        ),
        (
            HOST_PORT,
            {".image": "mirantis/dtr-content-cache:2.9.1"},
            (
                "image mirantis/dtr-content-cache:2.9.0 => mirantis/dtr-content-cache:2.9.1; "
                "rolling restart, about 1 s without service on a host port"
            ),
        ),
        (
            {},
            {".logLevel": "debug", ".resources": {"limits": {"memory": "1g"}}},
            (
                "config.yml changes (logLevel info => debug), resources.limits.memory none => 1g; "
                "rolling restart, without a gap"
            ),
        ),
        (
            {},
            {".storage": {"inmemory": {}}},
            (
                "config.yml changes (storage.filesystem.rootdirectory /var/lib/registry => none); "
                "rolling restart, without a gap"
            ),
        ),
        (
            {},
            {".nodes": ["worker-8"]},
            "nodes worker-7 => worker-8; the cache moves, about 5 s without service unless another replica serves",
        ),
        ({}, {".nodes": ["worker-7", "worker-8"]}, "nodes worker-7 => worker-7, worker-8; no task restarts"),
        ({}, {".replicas": 2}, "replicas 1 => 2; no task restarts"),
        ({}, {".replicas": 0}, "replicas 1 => 0; the cache is off"),
        ({}, {".tls": {"renewDays": 20}}, "tls.renewDays 30 => 20; no task restarts"),
        ({}, {".tls": {"keyType": "rsa2048"}}, "tls.keyType rsa4096 => rsa2048; no task restarts"),
    ],
)
def test_a_change_is_told_in_a_sentence_with_what_it_does_to_clients(
    before: dict[str, Any], after: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(before, before | after, monkeypatch) == (f"asia: {sentence}", [])


def test_a_new_certificate_that_this_run_makes_is_a_warning_with_the_one_that_clients_trust(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {"subject": f"CN={HOST}", "sha256": Unknown(), "expires": Unknown(), "trustedSha256": Unknown()}
    sentence, (warning,) = told({}, {".tls": {"sans": ["lb.example.com"]}}, monkeypatch, certificate=made)
    assert sentence == "asia: tls.sans none => lb.example.com, the certificate changes; rolling restart, without a gap"
    start = "msr-cache:caches.asia.tls: clients must trust the new certificate (which this run makes)"
    assert warning.startswith(f"{start} instead of SHA-256 {OLD}")
    assert "docs/certificates.md, 'When clients must trust something new'" in warning


def test_the_readme_shows_a_sentence_and_warnings_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = re.sub(r"SHA-256 \w{64}", f"SHA-256 {OLD}", Path("README.md").read_text()).splitlines()
    made = {"subject": f"CN={HOST}", "sha256": Unknown(), "expires": Unknown(), "trustedSha256": Unknown()}
    before = HOST_PORT | {".port": 9443}
    printed = [
        told(HOST_PORT, HOST_PORT | {".blobTtl": "36h"}, monkeypatch),
        told(before, before | {".port": 9444}, monkeypatch),
        told({}, {".tls": {"sans": ["lb.example.com"]}}, monkeypatch, certificate=made),
    ]
    sentences = [f"info: {sentence}" for sentence, _ in printed[:2]]
    warned = [f"warning: {warning}" for _, warnings in printed for warning in warnings]
    assert {*sentences, *warned} <= {*readme}


def test_a_renewed_certificate_of_the_same_ca_asks_nothing_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = {".tls": {"source": "localCa"}}
    renewed = {"subject": f"CN={HOST}", "sha256": Unknown(), "expires": Unknown(), "trustedSha256": OLD}
    sentence, warned = told(ca, ca, monkeypatch, certificate=renewed)
    assert sentence == "asia: the certificate changes; rolling restart, without a gap"
    assert warned == []


@pytest.mark.usefixtures("secret_config")
def test_a_given_certificate_of_another_root_is_a_warning_with_both_fingerprints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaf = make(HOST, sans=(HOST,))
    given = {".tls": {"source": "provided", "certificate": leaf.pem, "key": leaf.key}}
    _, (warning,) = told({}, given, monkeypatch)
    assert f"the new certificate (SHA-256 {sha256_of(leaf.pem)}) instead of SHA-256 {OLD}" in warning


def test_a_changed_url_is_a_warning_for_the_clients_that_msr_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, (warning,) = told({}, {".port": 8443}, monkeypatch)
    assert sentence.startswith("asia: config.yml changes (port 443 => 8443); rolling restart")
    assert warning == (
        f"msr-cache:caches.asia: the URL changes from {URL} to {URL}:8443: clients that MSR sends to the old one fail "
        "until MSR has the new one (see docs/move.md, 'Update MSR')"
    )


@pytest.mark.usefixtures("secret_config")
def test_a_changed_url_that_the_run_registers_itself_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    msr = {"msr.user": "ops", "msr.password": "canary", "msr.ca": {"sha256": "0a" * 32}, ".registerInMsr": True}
    _, (warning,) = told(msr, msr | {".port": 8443}, monkeypatch)
    assert warning.endswith("until MSR has the new one (this run registers it, last)")


def test_a_second_cache_takes_the_output_cache_url_away_which_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, (warning,) = told({}, {"caches.europe": EUROPE}, monkeypatch)
    assert not sentence
    assert warning == (
        "msr-cache:caches.asia: the stack output cacheUrl goes, because the stack has several caches: "
        "read caches.asia.url"
    )


def test_in_a_preview_all_else_comes_after_what_is_said_of_a_change() -> None:
    program = declared(preview=True)
    assert program.one("CacheSettings").hooks == {"before_update": ["asia-changes"]}
    hook = program.hooks["asia-changes"]
    assert hook.opts
    assert hook.opts.on_dry_run
    kinds = [resource.kind for resource in program.resources]
    assert kinds.index("CacheSettings") < min(map(kinds.index, ("SwarmSecret", "NodeLabel", "Image")))


def test_a_preview_gives_each_resource_the_dependencies_that_up_gives_it() -> None:
    """Else the engine writes its state once more for each resource of a preview, also where nothing changes."""
    previewed, made = (
        {each.name: each.dependencies for each in declared(preview=preview).resources} for preview in (True, False)
    )
    assert previewed == made


@pytest.mark.usefixtures("secret_config")
def test_the_settings_hold_what_a_preview_shows_and_neither_secret_nor_pem_text() -> None:
    leaf = make(HOST, sans=(HOST,))
    given = {"source": "provided", "certificate": leaf.pem, "key": leaf.key}
    shown = plain(declared({".port": 8443, ".blobTtl": "1h", ".tls": given}).one("CacheSettings").inputs)
    assert (shown["port"], shown["blobTtl"], shown["fqdn"]) == (8443, "1h", "cache.asia.example.com")
    assert (shown["image"], shown["label"]) == ("mirantis/dtr-content-cache:2.9.0", "dtr.cache")
    assert shown["upstreams"] == ["https://msr.example.com"]
    assert shown["certificate"] == {
        "subject": f"CN={HOST}",
        "sha256": sha256_of(leaf.pem),
        "expires": f"{leaf.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "trustedSha256": sha256_of(leaf.pem),
    }
    assert (shown["configYaml.http.addr"], shown["configYaml.http.secret"]) == ("0.0.0.0:8443", "[secret]")
    assert shown["configYaml.middleware.registry.0.options.blobttl"] == "1h"
    assert "-----BEGIN" not in str(shown)


def test_a_variable_may_be_a_secret_and_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, _ = told({}, {".environment": {"HTTPS_PROXY": "http://proxy:3128"}}, monkeypatch)
    assert sentence == "asia: environment.HTTPS_PROXY changes; rolling restart, without a gap"
    both = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example.com"}
    sentence, _ = told({".environment": both}, {".environment": {**both, "NO_PROXY": ".eu"}}, monkeypatch)
    assert sentence == "asia: environment.NO_PROXY changes; rolling restart, without a gap"


def test_nested_values_have_the_path_of_each_as_their_key() -> None:
    nested = {"a": {"b": [1, 2], "c": [{"d": None}]}, "e": {}, "__provider": "p"}
    assert flat(nested) == {"a.b": "1, 2", "a.c.0.d": None}
