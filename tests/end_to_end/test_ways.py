"""A manager that is reached by ssh, a docker context with TLS, or a client bundle carries a stack's whole life."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab.engine import TLS_PORT
from lab.process import Process, wait_until
from lab.site import Site
from tests.certificates import make
from tests.end_to_end.stack import CACHE, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]
SSHD = """
Port 2222
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
SetEnv DOCKER_HOST={socket}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder that only its owner may enter, as for keys."""
    (tmp_path / "way").mkdir(mode=0o700)
    return tmp_path / "way"


@pytest.fixture
def over_ssh(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a real sshd beside the manager, and let the real ssh use a key and a known host of its own."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    address = site.network.host_address
    (folder / "sshd_config").write_text(SSHD.format(address=address, folder=folder, socket=site.engine.docker_host))
    (folder / "known").write_text(f"[{address}]:2222 {(folder / 'host.pub').read_text()}")
    options = f"-o IdentityFile={folder}/client -o UserKnownHostsFile={folder}/known -o BatchMode=yes"
    (folder / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F none {options} "$@"\n')
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = Process(folder / "sshd.pid", folder / "sshd.log")
    sshd.start("/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config"))
    wait_until(lambda: "Server listening" in sshd.log.read_text(), "sshd does not listen")
    yield f"ssh://root@{address}:2222"
    sshd.stop()


@pytest.fixture
def over_tls(site: Site, folder: Path) -> Path:
    """Let the manager itself serve TLS to those with a key; give the folder of a client's ca, cert and key."""
    ca = make("the manager's CA", ca=True)
    server = ca.sign("manager", sans=(site.engine.address,))
    site.engine.serve_tls(ca.pem, server.pem, server.key)
    client = ca.sign("operator", uses=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    for name, text in (("ca", ca.pem), ("cert", client.pem), ("key", client.key)):
        (folder / f"{name}.pem").touch(mode=0o600)
        (folder / f"{name}.pem").write_text(text)
    return folder


def test_a_manager_over_ssh_carries_a_stacks_whole_life(stack: Stack, swarm: Swarm, over_ssh: str) -> None:
    live(stack, swarm, {"host": over_ssh})


def test_a_docker_context_with_tls_carries_a_stacks_whole_life(
    stack: Stack, swarm: Swarm, over_tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(over_tls))
    files = ",".join(f"{name}={over_tls}/{name}.pem" for name in ("ca", "cert", "key"))
    address = f"host=tcp://{stack.site.engine.address}:{TLS_PORT}"
    subprocess.run(["docker", "context", "create", "asia", "--docker", f"{address},{files}"], check=True)
    live(stack, swarm, {"context": "asia"})


def test_a_client_bundle_carries_a_stacks_whole_life(stack: Stack, swarm: Swarm, over_tls: Path) -> None:
    (over_tls / "env.sh").write_text(f"export DOCKER_HOST=tcp://{stack.site.engine.address}:{TLS_PORT}\n")
    live(stack, swarm, {"clientBundle": str(over_tls)})


def live(stack: Stack, swarm: Swarm, way: dict[str, Any]) -> None:
    """Deploy, change, find drift, repair it and destroy, all by one way to the manager."""
    nothing = swarm.listing()
    stack.configure(swarm=way)
    stack.deploy()
    assert stack.pull().blobs
    swarm.docker("service", "update", "--detach", "--label-add", "com.docker.stack.namespace=x", f"{CACHE}_cache")
    stack.configure({"blobTtl": "36h"}, swarm=way)
    assert {"SwarmSecret", "Service"} <= stack.deploy(refresh=True).changed()
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.must(stack.destroy())
    assert swarm.listing() == nothing
