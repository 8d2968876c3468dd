"""What all dynamic providers share: nothing of theirs in the state, refusals in words, unknowns seen as such."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
import threading
from importlib import import_module

import dill
import pytest
from pulumi.output import Unknown
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources.node_label import NodeLabelProvider
from msr_cache.resources.provider import SwarmProvider, is_unknown, unchanged
from msr_cache.resources.rollout import RolloutProvider
from msr_cache.resources.swarm_file import ConfigProvider, SecretProvider
from tests.certificates import HOST, make
from tests.msr_cache.conftest import NOWHERE, configured, declared, refusing, visible, with_manager

# Module path and class name are a stored contract: states name them.
STORED = {
    "CacheSettings": "msr_cache.resources.cache_settings.CacheSettingsProvider",
    "CacheUser": "msr_cache.resources.cache_user.CacheUserProvider",
    "FormerCache": "msr_cache.resources.cache_user.FormerCacheProvider",
    "FormerEntries": "msr_cache.resources.registration.FormerEntriesProvider",
    "HttpSecret": "msr_cache.resources.http_secret.HttpSecretProvider",
    "Image": "msr_cache.resources.image.ImageProvider",
    "MsrCa": "msr_cache.resources.msr_ca.MsrCaProvider",
    "NodeLabel": "msr_cache.resources.node_label.NodeLabelProvider",
    "PullVerification": "msr_cache.resources.verification.PullProvider",
    "Registration": "msr_cache.resources.registration.RegistrationProvider",
    "Rollout": "msr_cache.resources.rollout.RolloutProvider",
    "SignedCertificate": "msr_cache.resources.signed_certificate.SignedCertificateProvider",
    "StateId": "msr_cache.resources.state_id.StateIdProvider",
    "SwarmSecret": "msr_cache.resources.swarm_file.SecretProvider",
    "TlsSources": "msr_cache.resources.tls_sources.TlsSourcesProvider",
    "UpstreamCa": "msr_cache.resources.upstream_ca.UpstreamCaProvider",
    "Verification": "msr_cache.resources.verification.VerificationProvider",
}
PROVIDERS = [
    ConfigProvider,
    *(getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in STORED.values()),
]
EVERYTHING = {
    "msr.user": "ops",
    "msr.password": "canary",
    "msr.ca": {"sha256": "0a" * 32},
    ".registerInMsr": {"users": ["ops"]},
    ".verify": "pull",
    ".upstreams": [{"url": "https://msr2.example.com", "ca": {"sha256": "0a" * 32}}],
    ".tls": {"source": "csr", "certificate": make(HOST, sans=(HOST,)).pem},
    "caches.europe": {"fqdn": HOST, "nodes": ["worker-8"], "port": 8443, "label": "e", "tls": {"source": "localCa"}},
}


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_provider_keeps_nothing_in_the_state_however_it_was_used(kind: type[SwarmProvider]) -> None:
    used = configured(kind(), NOWHERE)
    assert used.manager
    assert pickle.dumps(used) == pickle.dumps(kind())
    assert b"nowhere" not in pickle.dumps(used)


@pytest.mark.parametrize("status", [0, 403, 500, 503])
@pytest.mark.parametrize("kind", [NodeLabelProvider, RolloutProvider, ConfigProvider, SecretProvider])
def test_a_manager_that_refuses_or_cant_be_reached_is_never_taken_for_gone(
    kind: type[SwarmProvider], status: int
) -> None:
    """pulumi-docker's own resources do, and drop what they can't read from the state."""
    provider = with_manager(kind(), refusing(status))
    props = {"nodeId": "n", "key": "k", "value": "true", "owner": "o", "service": "s", "name": "n"}
    for act in (provider.read, provider.delete):
        with pytest.raises(Refusal) as caught:
            act("id", props)
        assert getattr(caught.value, "status", 0) == status


@pytest.mark.usefixtures("secret_config")
def test_the_state_names_a_provider_by_module_and_class_in_the_clear() -> None:
    """A state of today must find its provider tomorrow; what is in the clear can be read in a preview."""
    found = {}
    for resource in declared(EVERYTHING).resources:
        if serialized := visible(resource.inputs).get("__provider"):
            # By reference: names, and no code that would be a change with every edit.
            assert len(base64.b64decode(serialized)) < 200
            kind = type(dill.loads(base64.b64decode(serialized)))  # noqa: S301 - our own
            found[resource.kind] = f"{kind.__module__}.{kind.__qualname__}"
    assert found == STORED


def test_states_of_earlier_versions_find_the_provider_of_their_swarm_config() -> None:
    stored = b"cmsr_cache.resources.swarm_file\nConfigProvider\n)\x81."
    assert isinstance(dill.loads(stored), ConfigProvider)  # noqa: S301 - our own


@pytest.mark.parametrize("value", [Unknown(), rpc.UNKNOWN])
def test_what_a_preview_does_not_know_is_unknown_in_both_of_the_sdks_ways(value: object) -> None:
    assert is_unknown(value)


@pytest.mark.parametrize("value", [None, "", "text", {}, 0])
def test_what_a_preview_knows_is_not_unknown(value: object) -> None:
    assert not is_unknown(value)


def test_only_equal_values_of_an_earlier_run_are_unchanged() -> None:
    assert unchanged({"a": 1, "b": 2}, {"a": 1, "b": 3}, "a")
    assert not unchanged({"a": 1, "b": 2}, {"a": 1, "b": 3}, "a", "b")
    assert not unchanged({}, {"a": 1}, "a")
    assert not unchanged({"a": 1}, {"a": Unknown()}, "a")


def test_a_value_that_the_engine_has_dropped_is_one_that_is_none() -> None:
    assert unchanged({"a": 1}, {"a": 1, "pin": None}, "a", "pin")
    assert not unchanged({}, {"pin": None}, "pin")


def test_each_thread_has_a_connection_of_its_own_and_keeps_it() -> None:
    one = configured(ConfigProvider(), NOWHERE)
    found = []
    thread = threading.Thread(target=lambda: found.append(one.manager))
    thread.start()
    thread.join()
    assert one.manager is one.manager
    assert found[0] is not one.manager


def test_a_host_process_imports_nothing_slow_that_it_does_not_use() -> None:
    """The engine waits for it, at each preview, and 0.1 s are a tenth of all that a preview takes."""
    host = f"""
import sys
import {", ".join({kind.__module__ for kind in PROVIDERS})}
print({{"cryptography", "docker", "pydantic", "requests"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "set()\n"
