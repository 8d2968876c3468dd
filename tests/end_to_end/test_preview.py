"""A preview says in few lines what changes, and in words what that does to clients."""

from __future__ import annotations

import pytest

from tests.end_to_end.stack import CACHE, KEY, PORT, Run, Stack

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

LIMIT = 40
URL = "https://cache.asia.example.com"
EUROPE = {"fqdn": "cache.europe.example.com", "port": PORT + 1, "label": "dtr.cache.europe"}


def lines(run: Run) -> list[str]:
    """Return what was printed of the change: not that plugins are the lab's, or from PATH."""
    about = ("warning: using pulumi-", "warning: pulumi-")
    return [line for line in run.text.splitlines() if line.strip() and not line.strip().startswith(about)]


def test_a_changed_setting_of_one_cache_of_two_is_told_in_a_sentence_and_few_lines(stack: Stack) -> None:
    """Pulumi calls a service's `env` and `sysctl` added at the first change after its creation (pulumi-docker)."""
    caches = stack.config()["caches"]
    caches["europe"] = caches[CACHE] | EUROPE
    stack.configure(caches=caches)
    stack.deploy()
    caches[CACHE]["blobTtl"] = "36h"
    stack.configure(caches=caches)
    shown = stack.must(stack.preview())
    effect = "rolling restart, about 1 s without service on a host port"
    assert f"info: {CACHE}: config.yml changes (blobTtl 24h => 36h); {effect}" in shown.text
    assert '~ blobTtl : "24h" => "36h"' in shown.words
    assert shown.text.count("blobttl") == 1, "config.yml is printed once"
    assert '"24h" => "36h"' in next(line for line in shown.text.splitlines() if "blobttl" in line)
    assert "outputs" not in shown.text
    assert len(lines(shown)) < LIMIT, shown.text


def test_what_clients_must_do_is_a_warning(deployed: Stack) -> None:
    trusted = deployed.outputs()["caches"][CACHE]["certificateSha256"]
    deployed.configure({"tls": {**KEY, "sans": ["lb.example.com"]}})
    shown = deployed.must(deployed.preview())
    assert f"clients must trust the new certificate (which this run makes) instead of SHA-256 {trusted}" in shown.text
    assert "BEGIN CERTIFICATE" not in shown.text.partition("CacheSettings")[2]
    deployed.configure({"port": PORT + 1})
    shown = deployed.must(deployed.preview())
    assert f"the URL changes from {URL}:{PORT} to {URL}:{PORT + 1}: clients that MSR sends to the old one" in shown.text
    assert f"~ port : {PORT} => {PORT + 1}" in shown.words
    assert f'http.addr: "0.0.0.0:{PORT}" => "0.0.0.0:{PORT + 1}"' in shown.words, "the changed line of config.yml"
    deployed.configure(caches={**deployed.config()["caches"], "europe": deployed.config()["caches"][CACHE] | EUROPE})
    assert "the stack output cacheUrl goes, because the stack has several caches" in deployed.preview().text


def test_keys_and_certificates_change_places_with_nothing_else(deployed: Stack) -> None:
    """Secrets are in the order of their names, as the swarm and pulumi-docker have them."""
    deployed.configure({"tls": {"keyType": "rsa2048"}})
    shown = deployed.must(deployed.preview())
    for file in ("cache.cert.pem", "cache.key.pem"):
        assert f'secretName: "{CACHE}_{file}-' in shown.words
    assert "fileName" not in shown.text


def test_a_ca_that_clients_trust_stays_until_the_signed_certificate_is_given(deployed: Stack) -> None:
    deployed.configure({"tls": {**KEY, "source": "localCa"}})
    deployed.deploy()
    before = deployed.outputs()["caches"][CACHE]
    assert "CERTIFICATE REQUEST" in before["certificateRequestPem"]
    deployed.configure({"tls": {**KEY, "source": "csr"}})
    done = deployed.deploy()
    assert "the cache keeps its certificate of localCa, which clients trust, until you have" in done.text
    assert done.changed() == {"pulumi-python"}, "the provider's copy of the config"
    assert deployed.outputs()["caches"][CACHE] == before
    assert deployed.pull().blobs
    deployed.must(deployed.preview(expect_no_changes=True))
