"""The HTTPS client keeps its deadline, its size limit and its trust, and takes nothing from the environment."""

from __future__ import annotations

import io
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest

from lab.authority import Issued, issue
from msr_cache import https
from msr_cache.commands import ca, verify
from msr_cache.https import Client, DeadlinePassed, TooLarge, Unanswered, Untrusted
from msr_cache.refusal import Refusal
from tests.certificates import Made, make
from tests.msr_cache.conftest import listening, message

SERVED = issue("Site CA", address="127.0.0.1", dns_name="localhost")
OTHER = issue("Other CA", address="127.0.0.1", dns_name="localhost")
ROOT = make("Root", ca=True)
ISSUING = ROOT.sign("Issuing", ca=True)
HEAD = b"HTTP/1.1 200 OK\r\n"

Handler = Callable[[ssl.SSLSocket], None]


def drip(connection: ssl.SSLSocket, endless: bytes) -> None:
    while True:
        connection.sendall(endless)
        time.sleep(0.05)


def answering(answer: bytes) -> Handler:
    return lambda connection: connection.sendall(answer)


@contextmanager
def serving(folder: Path, handle: Handler, tls: Issued = SERVED) -> Iterator[tuple[str, list[bytes]]]:
    """Give a server's URL, and what it has read."""
    tls.write(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        handle(cast("ssl.SSLSocket", connection))

    with listening(serve, context) as host:
        yield f"https://{host}", asked


def test_an_answer_is_returned_with_its_status_and_headers_in_any_case(tmp_path: Path) -> None:
    with serving(tmp_path, answering(b"HTTP/1.1 404 No\r\nX-Name: a\r\nContent-Length: 2\r\n\r\nno")) as (url, _):
        answer = Client(url, SERVED.ca).ask("GET", "/x", {})
    assert (answer.status, answer.headers["x-name"], answer.body) == (404, "a", b"no")


SLOW: dict[str, Handler] = {
    "status line": lambda connection: drip(connection, b"H"),
    "headers": lambda connection: (connection.sendall(HEAD), drip(connection, b"X: y\r\n"))[-1],
    "body": lambda connection: (connection.sendall(HEAD + b"\r\n"), drip(connection, b"x"))[-1],
}


@pytest.mark.parametrize("part", SLOW)
def test_the_deadline_holds_against_a_server_that_drips(tmp_path: Path, part: str) -> None:
    with serving(tmp_path, SLOW[part]) as (url, _):
        start = time.monotonic()
        with pytest.raises(
            DeadlinePassed, match=r"did not answer in time \(timed out: 10 s without a byte, 0\.5 s in total"
        ):
            Client(url, SERVED.ca, seconds=0.5).ask("GET", "/", {})
        assert time.monotonic() - start < 5


def test_the_deadline_holds_against_a_server_that_never_shakes_hands() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        client = Client(f"https://127.0.0.1:{listener.getsockname()[1]}", None, seconds=0.3)
        for act in (client.certificate, lambda: client.ask("GET", "/", {})):
            with pytest.raises(DeadlinePassed):
                act()


def test_a_pause_ends_an_answer_long_before_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "TIMEOUT", 0.3)
    server = serving(tmp_path, lambda connection: (connection.sendall(HEAD), time.sleep(3))[-1])
    with server as (url, _), pytest.raises(DeadlinePassed):
        Client(url, SERVED.ca, seconds=60).ask("GET", "/", {})


@pytest.mark.parametrize("length", [b"Content-Length: 1000000\r\n", b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_above_the_limit_is_an_error(tmp_path: Path, length: bytes) -> None:
    body = b"F4240\r\n" + b"x" * 1_000_000 if b"chunked" in length else b"x" * 1_000_000
    with (
        serving(tmp_path, answering(HEAD + length + b"\r\n" + body)) as (url, _),
        pytest.raises(TooLarge, match="sent more than 1000 bytes"),
    ):
        Client(url, SERVED.ca, largest=1000).ask("GET", "/", {})


def test_an_answer_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    half = answering(HEAD + b"Content-Length: 9\r\n\r\nhalf")
    with serving(tmp_path, half) as (url, _), pytest.raises(Unanswered):
        Client(url, SERVED.ca).ask("GET", "/", {})


def test_a_redirect_is_not_followed_and_its_endless_body_is_limited(tmp_path: Path) -> None:
    with serving(tmp_path / "other", answering(HEAD + b"\r\n")) as (other, asked):
        moved = b"HTTP/1.1 302 Found\r\nLocation: " + other.encode() + b"/\r\n"
        with serving(tmp_path / "first", answering(moved + b"\r\n")) as (url, _):
            assert Client(url, SERVED.ca).ask("GET", "/", {}).status == 302
        long = answering(moved + b"\r\n" + b"x" * 5000)
        with serving(tmp_path / "second", long) as (url, _), pytest.raises(TooLarge):
            Client(url, SERVED.ca, largest=1000).ask("GET", "/", {})
    assert asked == []


def test_nothing_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    OTHER.write(tmp_path / "other")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other/ca.pem"))
    with closing(socket.create_server(("127.0.0.1", 0))) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with serving(tmp_path, answering(HEAD + b"\r\n")) as (url, asked):
            assert Client(url, SERVED.ca, seconds=2).ask("GET", "/", {}).status == 200
            assert Client(url, SERVED.ca, seconds=2).certificate()
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert b"uthorization" not in asked[0]


def test_only_the_given_ca_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with serving(tmp_path, answering(HEAD + b"\r\n")) as (url, asked):
        for ca_pem in (OTHER.ca, None):
            with pytest.raises(Untrusted, match="unable to get local issuer certificate"):
                Client(url, ca_pem).ask("GET", "/", {})
            with pytest.raises(Untrusted):
                Client(url, ca_pem).certificate()
        assert asked == []


def test_without_a_ca_the_operating_systems_cas_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, answering(HEAD + b"\r\n")) as (url, _):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert Client(url, None).ask("GET", "/", {}).status == 200


@pytest.mark.parametrize("trusted", [ROOT, ISSUING], ids=["root", "intermediate"])
def test_a_ca_without_key_identifiers_and_an_intermediate_as_the_root_are_trusted_as_by_go(
    tmp_path: Path, trusted: Made
) -> None:
    leaf = ISSUING.sign("msr", sans=("127.0.0.1",))
    with serving(tmp_path, answering(HEAD + b"\r\n"), Issued("", leaf.pem + ISSUING.pem, leaf.key)) as (url, _):
        assert Client(url, trusted.pem).ask("GET", "/", {}).status == 200
        with pytest.raises(Untrusted):
            Client(url, OTHER.ca).ask("GET", "/", {})


def test_tls_does_not_depend_on_the_python_version() -> None:
    context = Client("https://msr", SERVED.ca)._context()
    assert context.verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_each_context_of_the_program_is_made_in_one_place() -> None:
    sources = [path.read_text() for path in Path(https.__file__).parent.rglob("*.py")]
    assert sum(source.count("ontext(ssl.PROTOCOL_TLS_CLIENT)") for source in sources) == 1


def test_the_reason_is_that_of_the_last_failure_and_not_of_one_that_is_being_handled() -> None:
    def ask_twice() -> None:
        try:
            Client("https://127.0.0.1:1", None).ask("GET", "/", {})
        except Unanswered:
            Client("https://nowhere.invalid", None).ask("GET", "/", {})

    assert "Connection refused" not in message(ask_twice)


SECRET = "hunter2"


def test_a_password_is_in_no_error_and_the_user_of_a_url_is_not_sent(tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    errors = []
    with serving(tmp_path, answering(HEAD + b"Content-Length: 9\r\n\r\n")) as (url, asked):
        with_user = url.replace("//", f"//me:{SECRET}@")
        refused: list[tuple[Client, dict[str, str]]] = [
            (Client(with_user, SERVED.ca), {}),
            (Client(with_user, OTHER.ca), headers),
            (Client(f"https://me:{SECRET}@127.0.0.1:1", None), headers),
            (Client(f"https://me:{SECRET}@nowhere.invalid", None), headers),
            (Client(url, SERVED.ca), {"Authorization": f"Bearer {SECRET}\n"}),
        ]
        for client, sent in refused:
            with pytest.raises(Refusal) as caught:
                client.ask("GET", "/", sent)
            errors.append(str(caught.value))
            assert caught.value.__cause__ is None
        assert not [error for error in errors if SECRET in error or "me" in error.split(":")]
    assert b"uthorization" not in asked[0]
    assert b"".join(asked[1:]) == b""


@pytest.mark.parametrize("url", ["https://127.0.0.1:99999", "https://127.0.0.1:x", "https://[::1", "https://a b", "h"])
def test_a_url_that_is_none_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="expected https://host") as caught:
        ca.main([url])
    assert "\n" not in str(caught.value)
    for text in (json.dumps({"a": {"url": url}}), "{}", "none"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with pytest.raises(SystemExit, match="found no caches on standard input"):
            verify.main([])
    with pytest.raises((Unanswered, ValueError)):
        Client(url, None).ask("GET", "/", {})


def test_the_command_shows_no_password_of_a_url() -> None:
    with pytest.raises(SystemExit) as caught:
        ca.main([f"https://me:{SECRET}@msr.example.com"])
    assert "expected https://host" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_error_of_the_system_that_has_no_words_is_told_by_its_name() -> None:
    assert https.reason(TimeoutError()) == "TimeoutError"


def test_what_a_path_may_not_hold_is_escaped_and_an_escape_stays(tmp_path: Path) -> None:
    with serving(tmp_path, answering(HEAD + b"\r\n")) as (url, asked):
        Client(url, SERVED.ca).ask("GET", "/a b%2F\r\nX: y/ü?sig=a%3D&b=+/~", {})
    assert asked[0].startswith(b"GET /a%20b%2F%0D%0AX:%20y/%C3%BC?sig=a%3D&b=+/~ HTTP/1.1\r\n")
