"""The way to a manager: kept open, never waited on without end, and nothing of the environment changes it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from msr_cache.swarm import connection as module
from msr_cache.swarm.connection import Connection
from tests.certificates import make
from tests.msr_cache.conftest import bundle_folder, listening

HEAD = b"HTTP/1.1 200 OK\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\n{}"
Handler = Callable[[socket.socket], None]


@contextmanager
def serving(handle: Handler, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Give the address of a manager that handles each connection so."""
    with listening(handle, tls) as host:
        yield f"tcp://{host}"


def answering(answer: bytes, *, times: int = 1) -> Handler:
    def handle(connection: socket.socket) -> None:
        for _ in range(times):
            connection.recv(4096)
            connection.sendall(answer)

    return handle


def dripping(start: bytes, endless: bytes) -> Handler:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(start)
        while True:
            connection.sendall(endless)
            time.sleep(0.05)

    return handle


@pytest.mark.parametrize(
    "handle",
    [
        dripping(b"", b"H"),
        dripping(HEAD, b"X: y\r\n"),
        dripping(HEAD + b"\r\n", b"x"),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status line", "headers", "body", "chunks", "100"],
)
def test_the_deadline_holds_against_a_manager_that_drips(handle: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.4)
    with serving(handle) as host:
        start = time.monotonic()
        with pytest.raises((TimeoutError, HTTPException)):
            Connection(host, None).ask("GET", "/")
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("length", [b"Content-Length: 99999\r\n", b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_above_the_limit_is_an_error(length: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1000)
    body = b"1869F\r\n" * (b"chunked" in length) + b"x" * 99999
    with serving(answering(HEAD + length + b"\r\n" + body)) as host, pytest.raises(ValueError, match="more than 1000"):
        Connection(host, None).ask("GET", "/")


@pytest.mark.parametrize("length", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_that_breaks_off_is_an_error(length: bytes) -> None:
    with serving(answering(HEAD + length + b"\r\n4\r\nha")) as host, pytest.raises(HTTPException):
        Connection(host, None).ask("GET", "/")


def test_one_connection_serves_many_requests_and_is_opened_again_after_the_manager_has_closed_it() -> None:
    opened = []

    def handle(connection: socket.socket) -> None:
        opened.append(connection)
        answering(OK, times=3)(connection)

    with serving(handle) as host:
        manager = Connection(host, None)
        for _ in range(3):
            assert manager.ask("GET", "/").body == b"{}"
        assert len(opened) == 1
        time.sleep(0.1)
        assert manager.ask("GET", "/").status == 200
        assert len(opened) == 2


def test_an_answer_tells_by_how_much_the_clocks_differ() -> None:
    long_ago = b"Date: Thu, 01 Jan 2015 00:00:00 GMT\r\n"
    for header, ahead in ((long_ago, time.time() - 1420070400), (b"", 0), (b"Date: yesterday\r\n", 0)):
        with serving(answering(HEAD + header + b"Content-Length: 0\r\n\r\n")) as host:
            assert Connection(host, None).ask("GET", "/").ahead == pytest.approx(ahead, abs=5)


# TLS

ROOT, STRANGER = make("Bundle's CA", ca=True), make("Another CA", ca=True)


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    client = ROOT.sign("ops", uses=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    return str(bundle_folder(tmp_path, **{"ca.pem": ROOT.pem, "cert.pem": client.pem, "key.pem": client.key}))


def manager_tls(folder: Path, *, strange: bool = False) -> ssl.SSLContext:
    server = (STRANGER if strange else ROOT).sign("127.0.0.1", sans=("127.0.0.1",))
    (folder / "server.pem").write_text(server.pem + server.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    tls.load_verify_locations(cadata=ROOT.pem)
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


@pytest.fixture
def hostile_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Let each variable that clients heed name another CA or a proxy; give the proxy."""
    strange = tmp_path / "strange.pem"
    strange.write_text(STRANGER.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(strange))
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        proxy.settimeout(0)
        yield proxy


def test_no_ca_and_no_proxy_of_the_environment_keeps_the_bundles_manager_away(
    tmp_path: Path, bundle: str, hostile_environment: socket.socket
) -> None:
    with serving(answering(OK), manager_tls(tmp_path)) as host:
        assert Connection(host, bundle).ask("GET", "/").status == 200
    with pytest.raises(BlockingIOError):
        hostile_environment.accept()


@pytest.mark.usefixtures("hostile_environment")
def test_a_manager_of_a_ca_in_the_environment_alone_is_not_trusted(tmp_path: Path, bundle: str) -> None:
    with (
        serving(answering(OK), manager_tls(tmp_path, strange=True)) as host,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        Connection(host, bundle).ask("GET", "/")


@pytest.mark.parametrize(
    "spoilt",
    [{"ca.pem": STRANGER.pem}, {"cert.pem": STRANGER.pem, "key.pem": STRANGER.key}],
    ids=["another CA", "another client"],
)
def test_a_bundle_that_does_not_fit_is_an_error_before_anything_is_asked(
    tmp_path: Path, bundle: str, spoilt: dict[str, str]
) -> None:
    asked: list[bytes] = []
    for name, text in spoilt.items():
        (tmp_path / name).write_text(text)
    with serving(lambda each: asked.append(each.recv(1)), manager_tls(tmp_path)) as host, pytest.raises(ssl.SSLError):
        Connection(host, bundle).ask("GET", "/")
    assert asked == []


def test_what_hangs_up_without_an_answer_is_an_error() -> None:
    with serving(socket.socket.close) as host, pytest.raises(ConnectionError):
        Connection(host, None).ask("GET", "/")


# ssh

SSH = f"""#!{sys.executable}
import os, sys
open(os.environ["ASKED"], "a").write(repr(sys.argv[1:]) + "\\n")
while sys.stdin.buffer.readline():
    while sys.stdin.buffer.readline().strip():
        pass
    os.write(1, {OK!r})
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an ssh on PATH that answers in the manager's place; give the file of its arguments."""
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    return tmp_path / "asked"


@pytest.mark.parametrize(
    ("host", "arguments"),
    [
        ("ssh://ops@manager-1", ["-l", "ops", "--", "manager-1"]),
        ("ssh://Manager_1/", ["--", "Manager_1"]),
        ("ssh://ops@manager-1:2222", ["-l", "ops", "-p", "2222", "--", "manager-1"]),
        ("ssh://ops@[2001:db8::1]", ["-l", "ops", "--", "2001:db8::1"]),
        ("ssh://[2001:db8::1]:22", ["-p", "22", "--", "2001:db8::1"]),
    ],
)
def test_a_manager_is_reached_by_ssh_with_one_connection_for_all_requests(
    ssh: Path, host: str, arguments: list[str]
) -> None:
    with closing(Connection(host, None)) as manager:
        for _ in range(2):
            assert manager.ask("GET", "/").body == b"{}"
    assert ssh.read_text() == f"{[*arguments, 'docker system dial-stdio']!r}\n"


def test_an_ssh_that_hangs_or_ends_is_an_error_and_does_not_outlive_the_connection(
    ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    started: list[subprocess.Popen[bytes]] = []

    class Started(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Started)
    for script, error in (("exec sleep 60", TimeoutError), ("exit 255", ConnectionError)):
        (ssh.parent / "ssh").write_text(f"#!/bin/sh\n{script}\n")
        manager = Connection("ssh://ops@manager-1", None)
        with pytest.raises(error):
            manager.ask("GET", "/")
    assert len([process.wait(5) for process in started]) == 2


@pytest.mark.parametrize("host", ["ssh://a@b@c", "ssh://ops:hunter2@manager-1", "ssh://[::1", "ssh://"])
def test_an_ssh_address_that_is_none_is_an_error_and_shows_no_password(ssh: Path, host: str) -> None:
    with pytest.raises(ValueError, match=r"ssh address|IPv6"):
        Connection(host, None).ask("GET", "/")
    assert not ssh.exists()
