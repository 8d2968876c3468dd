"""A docker context means the same to the program and to the provider: its address, and its TLS files by path."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from msr_cache.swarm.manager import Address, Manager
from tests.msr_cache.conftest import message

ID = hashlib.sha256(b"prod").hexdigest()
HOST = "tcp://10.0.0.1:2376"
TLS = ("ca.pem", "cert.pem", "key.pem")
UNKNOWN = "msr-cache:swarm.context: found 'prod', expected a context that `docker context ls` lists"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a ~/.docker with context prod, as docker's own client keeps it."""
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker/contexts/meta" / ID).mkdir(parents=True)
    describe(tmp_path / ".docker", {"docker": {"Host": HOST, "SkipTLSVerify": False}})
    return tmp_path / ".docker"


def describe(docker: Path, endpoints: Any) -> None:
    meta = {"Name": "prod", "Metadata": {}, "Endpoints": endpoints}
    (docker / "contexts/meta" / ID / "meta.json").write_text(json.dumps(meta))


def give_tls(docker: Path, *files: str) -> Path:
    folder = docker / "contexts/tls" / ID / "docker"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text(name)
    return folder


def address() -> Address:
    return Address.from_config({"context": "prod"})


@pytest.mark.parametrize("host", ["tcp://10.0.0.1:2375", "ssh://ops@manager-1", "unix:///var/run/docker.sock"])
def test_a_context_is_its_address(docker: Path, host: str) -> None:
    describe(docker, {"docker": {"Host": host}})
    assert address() == Address(host, None, "context")


def test_a_contexts_tls_files_are_those_of_the_client(docker: Path) -> None:
    folder = give_tls(docker, *TLS)
    assert address() == Address(HOST, str(folder), "context")


def test_a_manager_that_does_not_answer_is_checked_with_the_contexts_own_name(docker: Path, tmp_path: Path) -> None:
    describe(docker, {"docker": {"Host": f"unix://{tmp_path}/docker.sock"}})
    told = message(lambda: Manager(address()).get("/nodes"))
    assert told.startswith("msr-cache:swarm.context: found unix://")
    assert told.endswith("Check it with: docker --context prod node ls")


@pytest.mark.parametrize("host", ["ssh://ops@manager-1", "unix:///var/run/docker.sock"])
def test_tls_files_are_left_alone_where_there_is_no_tls(docker: Path, host: str) -> None:
    describe(docker, {"docker": {"Host": host}})
    give_tls(docker, *TLS)
    assert address().cert_path is None


@pytest.mark.parametrize("missing", TLS)
def test_a_context_with_a_part_of_the_tls_files_is_refused(docker: Path, missing: str) -> None:
    give_tls(docker, *(name for name in TLS if name != missing))
    assert message(address).startswith(f"msr-cache:swarm.context: found no {missing} in ")


def test_a_context_is_looked_for_where_docker_is_told_to(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker.rename(docker.with_name("elsewhere"))))
    assert address().host == HOST


@pytest.mark.usefixtures("docker")
def test_a_context_that_docker_does_not_know_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert message(address) == UNKNOWN


def test_the_default_context_is_refused_because_the_environment_says_what_it_is() -> None:
    told = message(lambda: Address.from_config({"context": "default"}))
    assert told.startswith("msr-cache:swarm.context: found default, which depends on DOCKER_HOST")


@pytest.mark.parametrize("endpoints", [None, 5, [], {}, {"docker": 5}, {"docker": {}}, {"kubernetes": {"Host": "x"}}])
def test_a_damaged_context_is_one_line(docker: Path, endpoints: Any) -> None:
    describe(docker, endpoints)
    assert "whose file is damaged" in message(address)
    (docker / "contexts/meta" / ID / "meta.json").write_bytes(b"\xff{")
    assert "whose file is damaged" in message(address)


@pytest.mark.parametrize("host", ["ssh://a@b@c", "npipe:////./pipe/docker_engine", "fd://", "tcp://m:99999", 5, None])
def test_a_context_of_an_address_that_is_none_is_one_line(docker: Path, host: Any) -> None:
    describe(docker, {"docker": {"Host": host}})
    assert message(address).startswith("msr-cache:swarm.context: its address: found ")
