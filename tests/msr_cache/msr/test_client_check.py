"""Each way in which a cache can be unusable has its own error, with what to do."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.authority import Issued, issue
from msr_cache.commands import verify
from msr_cache.https import Client, Untrusted
from msr_cache.msr import client_check
from msr_cache.msr.api import Credentials, Msr
from msr_cache.msr.client_check import Blob, Target
from msr_cache.msr.registry import MsrRegistry
from msr_cache.refusal import Refusal
from msr_cache.x509.pem import sha256_of

CONTENT = b"a layer"
BLOB = Blob("library/app", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0"}
Answers = dict[str, tuple[int, dict[str, str], bytes]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_check, "TIMEOUT", 0.5)
    monkeypatch.setattr(client_check, "START", 0.3)


@pytest.fixture(scope="module")
def certificate() -> Issued:
    return issue("Cache CA", address="127.0.0.1", dns_name="localhost")


@contextmanager
def serving(tls: Issued | None, answers: Answers, folder: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Serve `answers`, via TLS if there is a certificate; give the port and the requests."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = ("Authorization", "Host")
            asked.append({"path": self.path, **{name.lower(): self.headers.get(name) for name in names}})
            status, headers, body = answers.get(self.path, (404, {}, b"not here"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that refuse us are what is tested
    if tls:
        tls.write(folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def target(certificate: Issued, port: int, host: str = "127.0.0.1", **changed: str) -> Target:
    trust, sha256 = certificate.ca, sha256_of(certificate.certificate)
    return Target("asia", f"https://{host}:{port}", changed.get("trust", trust), changed.get("sha256", sha256))


def walk(seen: Target) -> list[str]:
    done = []
    for what, step in client_check.tls_steps(seen):
        step()
        done.append(what)
    return done


def refusal(seen: Target) -> str:
    with pytest.raises(Refusal) as caught:
        walk(seen)
    return str(caught.value)


def test_a_cache_that_is_as_deployed_passes_every_step(certificate: Issued, tmp_path: Path) -> None:
    for status in (200, 401):
        with serving(certificate, {"/v2/": (status, REGISTRY, b"{}")}, tmp_path) as (port, _):
            assert len(walk(target(certificate, port))) == 5


def test_a_name_that_does_not_resolve_is_reported(certificate: Issued) -> None:
    said = refusal(target(certificate, 443, host="cache.nowhere.invalid"))
    assert "the name cache.nowhere.invalid does not resolve here" in said
    assert "DNS entry" in said


def test_a_closed_port_is_reported(certificate: Issued) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    said = refusal(target(certificate, port))
    assert f"port {port} is closed" in said
    assert said.endswith("and check `port`. With `externalPort`, the load balancer does not listen there")
    assert "does not publish the cache's port" in said


def test_a_firewall_that_drops_is_reported(certificate: Issued) -> None:
    """A listener whose queue is full drops what else comes, as a firewall does."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        said = refusal(target(certificate, address[1]))
        for one in waiting:
            one.close()
    assert "does not answer within 0.5 s" in said
    assert "a firewall drops TCP port" in said


def test_a_port_without_tls_is_reported(certificate: Issued, tmp_path: Path) -> None:
    with serving(None, {}, tmp_path) as (port, _):
        assert "does not speak TLS" in refusal(target(certificate, port))


def test_another_certificate_than_the_one_deployed_is_reported(certificate: Issued, tmp_path: Path) -> None:
    other = issue("Other CA", address="127.0.0.1", dns_name="localhost")
    with serving(other, {}, tmp_path) as (port, _):
        said = refusal(target(certificate, port))
    assert f"found a certificate with SHA-256 {sha256_of(other.certificate)}" in said
    assert "another server answers to this name (a wrong host" in said


@pytest.mark.parametrize(
    ("served", "host", "words"),
    [
        (issue("CA", address="127.0.0.1", dns_name="other.example.com"), "localhost", "Hostname mismatch"),
        (issue("CA", address="127.0.0.1", dns_name="localhost", days=0), "127.0.0.1", "certificate has expired"),
    ],
)
def test_a_certificate_that_no_client_would_trust_is_reported(
    served: Issued, host: str, words: str, tmp_path: Path
) -> None:
    with serving(served, {}, tmp_path) as (port, _):
        said = refusal(target(served, port, host=host))
    assert words in said
    assert "TLS does not verify with certificatePem" in said
    assert "no client will trust the cache" in said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {}, b"<html>"), "the server is not a registry"),
        ((404, REGISTRY, b""), "the server is not a registry"),
        ((503, REGISTRY, b""), "storage fails its health check"),
    ],
)
def test_what_answers_otherwise_than_a_registry_is_reported(
    certificate: Issued, answer: tuple[int, dict[str, str], bytes], words: str, tmp_path: Path
) -> None:
    with serving(certificate, {"/v2/": answer}, tmp_path) as (port, _):
        assert words in refusal(target(certificate, port))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "serves only requests that MSR has signed"),
        (500, b"", "it does not trust MSR (msr.ca), does not reach it (firewall"),
        (200, b"something else", "the content is damaged"),
    ],
)
def test_a_blob_that_does_not_come_is_reported(
    certificate: Issued, status: int, body: bytes, words: str, tmp_path: Path
) -> None:
    with serving(certificate, {BLOB.path: (status, {}, body)}, tmp_path) as (port, _):
        seen = target(certificate, port)
        with pytest.raises(Refusal) as caught:
            client_check.fetch(seen, BLOB, BLOB.path)
    assert words in str(caught.value)


def test_a_node_is_verified_by_the_caches_name_where_it_is_reached(certificate: Issued, tmp_path: Path) -> None:
    """As a client is whom a load balancer sends there; that this machine can't resolve the name is no matter."""
    named = issue("Cache CA", address="192.0.2.1", dns_name="cache.nowhere.invalid")
    with serving(named, {"/v2/": (200, REGISTRY, b"{}")}, tmp_path) as (port, asked):
        cache = target(named, 443, host="cache.nowhere.invalid")
        node = replace(cache, node="worker-7", address=("127.0.0.1", port))
        assert len(walk(node)) == 4
        assert asked[-1]["host"] == "cache.nowhere.invalid:443"
    said = refusal(node)
    assert f"cache asia at {cache.url} on node worker-7 (127.0.0.1, port {port}): port {port} is closed" in said
    with serving(certificate, {}, tmp_path) as (port, _):
        assert "found a certificate with SHA-256" in refusal(replace(node, address=("127.0.0.1", port)))


@contextmanager
def redirecting(
    certificate: Issued, folder: Path, bucket: tuple[int, dict[str, str], bytes] | None
) -> Iterator[tuple[Target, str]]:
    """Give a cache that redirects to a bucket, and the bucket's URL without its signature."""
    with serving(certificate, {"/b?sig=hunter2": bucket} if bucket else {}, folder / "bucket") as (there, _):
        url = f"https://127.0.0.1:{there if bucket else 9}/b"
        moved = {BLOB.path: (307, {"Location": f"{url}?sig=hunter2"}, b"")}
        with serving(certificate, moved, folder / "cache") as (port, _):
            yield target(certificate, port), url


@pytest.fixture
def trusted_bucket(certificate: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate.write(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # the operating system's


@pytest.mark.usefixtures("trusted_bucket")
def test_a_blob_that_the_cache_sends_clients_to_a_bucket_for_is_fetched_there(
    certificate: Issued, tmp_path: Path
) -> None:
    with redirecting(certificate, tmp_path, (200, {}, CONTENT)) as (cache, _):
        client_check.fetch(cache, BLOB, BLOB.path)


@pytest.mark.usefixtures("trusted_bucket")
@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ((403, {}, b"denied"), "answers 403"),
        ((200, {}, b"other"), "serves another blob"),
        (None, "can't be reached from here"),
    ],
)
def test_a_bucket_that_does_not_give_the_blob_is_blamed_in_place_of_the_cache(
    certificate: Issued, bucket: tuple[int, dict[str, str], bytes] | None, words: str, tmp_path: Path
) -> None:
    """distribution issues 1073 and 432."""
    with redirecting(certificate, tmp_path, bucket) as (cache, url), pytest.raises(Refusal) as caught:
        client_check.fetch(cache, BLOB, BLOB.path)
    said = str(caught.value)
    assert f"a blob is redirected to {url}, which {words}" in said
    assert "the cache works, and sends clients to its bucket, which fails: remove storage.redirect" in said
    assert "hunter2" not in said


def test_a_bucket_whose_certificate_clients_would_not_trust_is_blamed(certificate: Issued, tmp_path: Path) -> None:
    with (
        redirecting(certificate, tmp_path, (200, {}, CONTENT)) as (cache, _),
        pytest.raises(Refusal, match="which has a certificate that does not verify"),
    ):
        client_check.fetch(cache, BLOB, BLOB.path)


@pytest.mark.parametrize(
    ("location", "why"), [("http://b/x?a", "does not speak TLS"), ("https://[", "has no URL"), ("", "does not")]
)
def test_a_blob_that_is_sent_nowhere_is_reported(certificate: Issued, location: str, why: str, tmp_path: Path) -> None:
    with (
        serving(certificate, {BLOB.path: (302, {"Location": location}, b"")}, tmp_path) as (port, _),
        pytest.raises(Refusal, match=f"which {why}"),
    ):
        client_check.fetch(target(certificate, port), BLOB, BLOB.path)


def test_a_blob_that_comes_as_its_digest_says_passes(certificate: Issued, tmp_path: Path) -> None:
    with serving(certificate, {BLOB.path: (200, {}, CONTENT)}, tmp_path) as (port, _):
        client_check.fetch(target(certificate, port), BLOB, BLOB.path)


def test_a_blob_is_waited_for_to_a_limit_of_bytes_and_of_seconds(
    certificate: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"BLOB_LIMIT": (3, "sent more than 3 bytes"), "BLOB_TIMEOUT": (1e-6, "in time")}
    with serving(certificate, {BLOB.path: (200, {}, CONTENT)}, tmp_path) as (port, _):
        seen = target(certificate, port)
        for name, (value, words) in limits.items():
            monkeypatch.setattr(client_check, name, value)
            with pytest.raises(Refusal, match=words):
                client_check.fetch(seen, BLOB, BLOB.path)


ME = Credentials("admin", "hunter2")


def test_nothing_is_sent_to_an_msr_that_does_not_verify(certificate: Issued, tmp_path: Path) -> None:
    stranger = issue("Stranger", address="127.0.0.1", dns_name="localhost").ca
    with serving(certificate, {}, tmp_path) as (port, asked):
        with pytest.raises(Untrusted, match="Nothing was sent"):
            Msr(f"https://127.0.0.1:{port}", stranger, ME).entries()
        assert asked == []


def test_a_blob_that_msr_serves_itself_is_located_at_msr_whatever_its_size(certificate: Issued, tmp_path: Path) -> None:
    for largest, moved in ((1 << 20, {}), (3, {}), (3, {"Location": "https://cache/v2/x"})):
        body = b"" if moved else CONTENT
        with serving(certificate, {BLOB.path: (302 if moved else 200, moved, body)}, tmp_path) as (port, _):
            msr = Msr(f"https://127.0.0.1:{port}", certificate.ca, ME)
            msr._client = Client(msr.url, certificate.ca, largest=largest)
            expected = moved.get("Location", f"{msr.url}{BLOB.path}")
            assert MsrRegistry(msr).location(BLOB) == expected


def test_the_command_prints_each_step_and_ends_with_an_error_where_one_fails(
    certificate: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"certificatePem": certificate.ca, "certificateSha256": sha256_of(certificate.certificate)}
    with serving(certificate, {"/v2/": (404, {}, b"")}, tmp_path) as (port, _):
        caches = {"asia": {"url": f"https://127.0.0.1:{port}", **told}}
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(caches)))
        with pytest.raises(SystemExit, match="can't be used from here: "):
            verify.main([])
    shown = capsys.readouterr().out
    assert "asia: TLS verifies with certificatePem\n" in shown
    assert f"FAILED: cache asia at https://127.0.0.1:{port}: /v2/ answers 404" in shown
