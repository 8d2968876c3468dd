"""What the docker provider would read in the environment leads it to no other manager, nor there by another way."""

from __future__ import annotations

import json

import pytest

from msr_cache.swarm.manager import Address, address_from_json
from tests.msr_cache.conftest import message

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")
OVERRIDES = ("DOCKER_CONTEXT", "DOCKER_CA_MATERIAL", "DOCKER_CERT_MATERIAL", "DOCKER_KEY_MATERIAL", "DOCKER_CERT_PATH")
HOSTS = ["ssh://ops@manager-1", "tcp://10.0.0.1:2375", "unix:///var/run/docker.sock"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *OVERRIDES, "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_SSH_OPTS", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def refused(host: str) -> str:
    """Return the line that both the program and a refresh without it refuse with."""
    line = message(lambda: Address.from_config({"host": host}))
    assert message(lambda: address_from_json(json.dumps({"host": host}))) == line
    return line


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", OVERRIDES)
def test_what_leads_the_provider_to_another_manager_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    monkeypatch.setenv(name, "elsewhere")
    assert refused(host) == (
        f"msr-cache:swarm.host: found {name} in the environment, which the docker provider would obey and this program "
        f"would not, expected none beside swarm.host: run unset {name}"
    )
    monkeypatch.setenv(name, "")
    assert Address.from_config({"host": host}).host == host


def test_ssh_options_that_only_the_provider_would_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_SSH_OPTS", "-o StrictHostKeyChecking=no")
    assert "found DOCKER_SSH_OPTS in the environment" in refused(HOSTS[0])
    assert Address.from_config({"host": HOSTS[1]}).host == HOSTS[1]


@pytest.mark.parametrize("host", HOSTS)
def test_what_neither_reads_beside_an_address_is_let_be(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """The provider takes DOCKER_HOST only without `host`, which the program always states."""
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY"):
        monkeypatch.setenv(name, "tcp://elsewhere:1")
    assert Address.from_config({"host": host}) == Address(host)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_that_only_the_provider_would_use_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://proxy:3128")
    assert refused("tcp://10.0.0.1:2375") == (
        "msr-cache:swarm.host: found HTTP_PROXY in the environment, through which the docker provider would reach the "
        "manager and this program would not: add 10.0.0.1 to NO_PROXY"
    )


@pytest.mark.parametrize("bypass", ["10.0.0.1", "10.0.0.0/8", "*", "a.example.com, 10.0.0.1", "a.com,10.1.0.0/8"])
def test_a_proxy_that_is_bypassed_is_let_be(monkeypatch: pytest.MonkeyPatch, bypass: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", bypass)
    assert Address.from_config({"host": "tcp://10.0.0.1:2375"}).host


@pytest.mark.parametrize("host", [HOSTS[0], HOSTS[2], "tcp://127.0.0.1:2375", "tcp://localhost:2375"])
def test_a_proxy_is_let_be_where_go_uses_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in PROXIES[:4]:
        monkeypatch.setenv(name, "http://proxy:3128")
    assert Address.from_config({"host": host}).host == host
