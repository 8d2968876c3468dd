"""A cache is verified again whenever it, or the way to it, differs from what was verified, and then only."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.runtime import rpc

from msr_cache.msr.client_check import Blob
from msr_cache.msr.registry import MsrRegistry
from msr_cache.refusal import Refusal
from msr_cache.resources import verification
from msr_cache.resources.verification import PullProvider, VerificationProvider
from tests.msr_cache.conftest import declared, listing, node, plain, with_manager

CACHE = {"cacheUrl": "https://cache", "certificate": "PEM", "sha256": "0a", "specSha256": "0b", "port": 8443}
KNOWN = {"cache": "asia", **CACHE, "url": "https://msr", "ca": "CA", "redirected": True, "entry": "e1"}
BLOB = Blob("repo", f"sha256:{'0a' * 32}")


@pytest.mark.parametrize("value", ["another", rpc.UNKNOWN])
@pytest.mark.parametrize("key", KNOWN)
def test_what_differs_from_what_was_verified_is_verified_again_and_nothing_else(key: str, value: str) -> None:
    news = {**KNOWN, key: value}
    assert VerificationProvider().diff("asia", KNOWN, news).changes is (key in CACHE)
    assert PullProvider().diff("asia", KNOWN, news).changes is (key != "cache")


@pytest.mark.parametrize("port", [None, 8443])
def test_behind_a_balancer_each_node_that_runs_a_task_is_verified_first_and_then_the_balancer(
    monkeypatch: pytest.MonkeyPatch, port: int | None
) -> None:
    manager_node, worker, idle = node("manager-1"), node("worker-7"), node("worker-8")
    manager_node["ManagerStatus"] = {"Addr": "10.0.0.1:2377"}
    manager_node["Status"]["Addr"] = "127.0.0.1"
    worker["Status"]["Addr"] = "10.0.0.7"
    swarm = listing(manager_node, worker, idle, running_on=("manager-1", "worker-7"))
    seen: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        verification, "tls_steps", lambda target: [("", lambda: seen.append((target.node, target.place)))]
    )
    (service,) = swarm.manager.get("/services")
    props = {**KNOWN, "port": port, "service": service["ID"]}
    with_manager(VerificationProvider(), swarm.manager).create(props)
    nodes = [("manager-1", ("10.0.0.1", 8443)), ("worker-7", ("10.0.0.7", 8443))]
    assert seen == [*(nodes if port else []), ("", ("cache", 443))]


@pytest.mark.parametrize(
    ("redirected", "location", "fetched"),
    [
        (True, "https://cache/signed?token=1", "/signed?token=1"),
        (True, "https://cache.elsewhere/signed?token=1", None),
        (False, "", BLOB.path),
    ],
)
def test_a_blob_is_pulled_the_way_that_clients_are_sent(
    monkeypatch: pytest.MonkeyPatch, redirected: bool, location: str, fetched: str | None
) -> None:
    pulled: list[str] = []
    monkeypatch.setattr(MsrRegistry, "sample", lambda _: BLOB)
    monkeypatch.setattr(MsrRegistry, "location", lambda _, blob: location if blob == BLOB else "")
    monkeypatch.setattr(verification, "fetch", lambda target, blob, path: pulled.append(f"{target.url} {blob} {path}"))
    monkeypatch.setattr(PullProvider, "msr", lambda *_: None)
    provider, props = PullProvider(), {**KNOWN, "redirected": redirected}
    acts: list[Any] = [lambda: provider.create(props), lambda: provider.update("asia", {}, props)]
    for act in acts:
        if fetched:
            assert act().outs == props
        else:
            with pytest.raises(Refusal, match=r"MSR redirects pulls to https://cache\.elsewhere/signed\.\n"):
                act()
    assert pulled == ([f"https://cache {BLOB} {fetched}"] * 2 if fetched else [])


def test_only_behind_a_balancer_is_the_nodes_port_a_matter_of_verification() -> None:
    def inputs(**changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = plain(declared({".verify": "tls", ".port": 8443, **changes}).one("Verification").inputs)
        return found

    assert "port" not in inputs()
    behind = inputs(**{".externalPort": 443})
    assert (behind["port"], behind["cacheUrl"]) == (8443, "https://cache.asia.example.com")
