"""A manager that does not answer is reported before anything is declared, with its key and what to do."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from msr_cache.refusal import Refusal
from msr_cache.swarm import probe as module
from msr_cache.swarm.manager import Address
from msr_cache.swarm.probe import probe
from tests.certificates import make

PONG = b"HTTP/1.0 200 OK\r\n\r\nOK"
ROOT = make("Bundle's CA", ca=True)


class Manager:
    """Listens, and gives each connection the same answer; None: it takes connections and never answers."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self.answer: bytes | None = PONG
        self.asked: list[bytes] = []
        self._listener, self._tls = listener, tls
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.asked.append(connection.recv(1024))
            except ssl.SSLError:
                continue
            except OSError:
                return
            if self.answer is not None:
                connection.sendall(self.answer)
                connection.close()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def host(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"


@pytest.fixture
def manager() -> Iterator[Manager]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Manager(listener)


def refused(address: Address) -> str:
    with pytest.raises(Refusal) as caught:
        probe(address)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def no_answer(host: str, why: str) -> str:
    return (
        f"msr-cache:swarm.host: found {host}, expected a manager that answers ({why}). "
        f"Check it with: docker -H {host} node ls"
    )


def test_a_manager_that_answers_is_asked_once(manager: Manager) -> None:
    probe(Address(host=manager.host))
    assert manager.asked == [b"GET /_ping HTTP/1.0\r\n\r\n"]


def test_a_manager_behind_a_socket_is_asked_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()
        manager = Manager(listener)
        probe(Address(host=f"unix://{tmp_path}/docker.sock"))
        assert len(manager.asked) == 1


@pytest.mark.parametrize("status", [b"403 Forbidden", b"503 Service Unavailable"])
def test_whatever_a_manager_answers_is_for_those_to_judge_who_ask_more(manager: Manager, status: bytes) -> None:
    manager.answer = b"HTTP/1.0 " + status + b"\r\n\r\n"
    probe(Address(host=manager.host))


def test_a_socket_that_is_not_there_is_reported(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/docker.sock"
    assert refused(Address(host=host)) == no_answer(host, "No such file or directory")


def test_a_port_where_nobody_listens_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert refused(Address(host=host)) == no_answer(host, "Connection refused")


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:70000", "tcp://nobody.invalid:2375", f"unix:///{'a' * 200}"])
def test_an_address_that_is_none_is_reported(host: str) -> None:
    assert refused(Address(host=host)).startswith(
        f"msr-cache:swarm.host: found {host}, expected a manager that answers ("
    )


def test_a_manager_that_hangs_is_reported_after_the_timeout(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    manager.answer = None
    assert refused(Address(host=manager.host)) == no_answer(manager.host, "timed out")


def test_what_hangs_up_without_an_answer_is_reported(manager: Manager) -> None:
    manager.answer = b""
    assert refused(Address(host=manager.host)) == no_answer(manager.host, "the connection was closed")


def test_a_tls_port_without_a_bundle_is_reported(manager: Manager) -> None:
    manager.answer = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    assert "(it requires TLS: use `clientBundle` or `context`)" in refused(Address(host=manager.host))


@pytest.mark.parametrize("host", ["ssh://ops@nobody.invalid", "ssh://ops@127.0.0.1:1"])
def test_nobody_is_asked_by_ssh(host: str) -> None:
    probe(Address(host=host))


# Client bundles


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    client = ROOT.sign("ops", uses=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    for name, text in {"ca.pem": ROOT.pem, "cert.pem": client.pem, "key.pem": client.key}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def mke(tmp_path: Path) -> Iterator[Manager]:
    """Give a manager that takes only clients of the bundle's CA."""
    server = ROOT.sign("127.0.0.1", sans=("127.0.0.1",))
    for name, text in {"server.pem": server.pem, "server-key.pem": server.key, "root.pem": ROOT.pem}.items():
        (tmp_path / name).write_text(text)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server-key.pem")
    tls.load_verify_locations(tmp_path / "root.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Manager(listener, tls)


def test_a_bundles_manager_is_asked_by_tls_with_the_bundles_key(mke: Manager, bundle: Path) -> None:
    probe(Address(host=mke.host, cert_path=str(bundle), key="clientBundle"))
    assert len(mke.asked) == 1


def strange_ca(bundle: Path) -> None:
    (bundle / "ca.pem").write_text(make("Another CA", ca=True).pem)


def strange_client(bundle: Path) -> None:
    client = make("ops", uses=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    (bundle / "cert.pem").write_text(client.pem)
    (bundle / "key.pem").write_text(client.key)


def no_certificate(bundle: Path) -> None:
    (bundle / "cert.pem").write_text("none")


@pytest.mark.parametrize("spoil", [strange_ca, strange_client, no_certificate])
def test_a_bundle_that_does_not_fit_is_reported_by_its_key_and_shows_none(
    mke: Manager, bundle: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(bundle)
    told = refused(Address(host=mke.host, cert_path=str(bundle), key="clientBundle"))
    assert told.startswith(f"msr-cache:swarm.clientBundle: found {mke.host}, expected a manager that answers (")
    assert told.endswith(f"Check it with: cd {bundle} && . ./env.sh && docker node ls")
    assert mke.asked == []


def test_the_probe_does_not_pay_for_the_docker_sdk() -> None:
    """It takes 0.15 s to import."""
    code = "import sys, msr_cache.swarm.probe; sys.exit('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 0
