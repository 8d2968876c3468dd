"""A manager's address from every form of config, its API, and one line for every failure."""

from __future__ import annotations

import json
import socket
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_cache.refusal import Refusal
from msr_cache.swarm import connection
from msr_cache.swarm.connection import Answer
from msr_cache.swarm.manager import Address, EngineError, Manager, address_from_json
from tests.msr_cache.conftest import bundle_folder, from_bundle, message

# What the engine hands to providers when no program runs, as on a refresh.


def test_the_engines_json_gives_the_same_address() -> None:
    assert address_from_json('{"host": "tcp://m:1"}') == Address(host="tcp://m:1")


@pytest.mark.parametrize("text", [None, "", "tcp://ops:hunter2@m:1", "{}", "[]", '{"hots": "hunter2"}', '{"host'])
def test_a_config_that_tells_no_address_is_one_line_without_it(text: str | None) -> None:
    line = message(lambda: address_from_json(text))
    assert line.startswith("msr-cache:swarm: found ")
    assert "hunter2" not in line


# The manager's answers

NODE = {
    "ID": "n1",
    "Version": {"Index": 42},
    "Spec": {"Availability": "active"},
    "Description": {},
    "Status": {"State": "ready"},
}


class Engine(ThreadingHTTPServer):
    """Answers every request with one status and body, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answerer)
        self.status = 200
        self.body = b"{}"
        self.hangs = threading.Event()
        self.hangs.set()
        self.login = ""
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []

    @property
    def manager(self) -> Manager:
        registries = {"registry:5000": {"username": "deploy", "password": "hunter2"}}
        return Manager(Address(host=f"tcp://127.0.0.1:{self.server_port}", registries=registries))

    def says(self, status: int, body: object) -> Manager:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.manager


class Answerer(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = (self.command, url.path, parse_qs(url.query), json.loads(sent) if sent else None)
        self.server.asked.append(asked)
        self.server.login = self.headers.get("X-Registry-Auth", "")
        self.server.hangs.wait(5)
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Engine]:
    server = Engine()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.hangs.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_object_is_asked_for_by_the_oldest_engines_version_of_the_api(engine: Engine) -> None:
    """Docker Engine 20.10, MSR 2.9's, speaks 1.41 at most."""
    assert engine.says(200, NODE).get("/nodes/n1") == NODE
    assert engine.asked == [("GET", "/v1.41/nodes/n1", {}, None)]


def test_filters_are_sent_as_the_engine_reads_them(engine: Engine) -> None:
    assert engine.says(200, []).get("/tasks", service=["s1"], **{"_up-to-date": ["true"]}) == []
    ((_, path, query, _),) = engine.asked
    assert path == "/v1.41/tasks"
    assert json.loads(query["filters"][0]) == {"service": ["s1"], "_up-to-date": ["true"]}


def test_an_object_is_created_and_its_id_returned(engine: Engine) -> None:
    assert engine.says(201, {"ID": "c1"}).create("configs", {"Name": "a", "Data": "Yg=="}) == "c1"
    assert engine.asked == [("POST", "/v1.41/configs/create", {}, {"Name": "a", "Data": "Yg=="})]


@pytest.mark.parametrize(("image", "user"), [("registry:5000/cache:1", "deploy"), ("mirantis/cache:1", None)])
def test_a_service_and_a_look_up_take_the_login_for_the_images_registry_along(
    engine: Engine, image: str, user: str | None
) -> None:
    manager = engine.says(200, {"ID": "s1", "Descriptor": {"digest": "sha256:0a"}})
    for ask in (manager.distribution, lambda image: manager.create("services", service_of(image))):
        ask(image)
        assert (json.loads(urlsafe_b64decode(engine.login))["username"] if engine.login else None) == user
    manager.create("secrets", {"Name": "a", "Data": "Yg=="})
    assert not engine.login


def service_of(image: str) -> dict[str, Any]:
    return {"Name": "a", "TaskTemplate": {"ContainerSpec": {"Image": image}}}


def test_an_address_shows_no_login() -> None:
    assert "hunter2" not in repr(Address("unix:///s", registries={"r": {"password": "hunter2"}}))


def test_an_update_is_bound_to_the_version_that_was_read(engine: Engine) -> None:
    known = {"ID": "n1", "Version": {"Index": 42}, "Spec": {"Role": "worker"}}
    engine.says(200, b"").update("nodes", known, {"Role": "worker", "Labels": {"a": "b"}})
    spec = {"Role": "worker", "Labels": {"a": "b"}}
    assert engine.asked == [("POST", "/v1.41/nodes/n1/update", {"version": ["42"]}, spec)]


def test_a_stream_is_returned_byte_by_byte(engine: Engine) -> None:
    assert engine.says(200, b"\x01\x00\x00\x00\xff\n").text("/tasks/t/logs", stdout="1") == b"\x01\x00\x00\x00\xff\n"
    assert engine.asked == [("GET", "/v1.41/tasks/t/logs", {"stdout": ["1"]}, None)]


def test_removing_what_is_gone_already_is_fine(engine: Engine) -> None:
    engine.says(404, {"message": "config c1 not found"}).remove("configs", "c1")
    assert engine.asked == [("DELETE", "/v1.41/configs/c1", {}, None)]


@pytest.mark.parametrize("status", [404, 409, 500, 503])
def test_an_error_of_the_engine_is_reported_in_its_own_words_with_its_status(engine: Engine, status: int) -> None:
    manager = engine.says(status, {"message": "rpc error: the swarm does not have a leader"})
    with pytest.raises(EngineError) as caught:
        manager.get("/nodes")
    assert caught.value.status == status
    assert caught.value.message == "rpc error: the swarm does not have a leader"
    assert str(caught.value) == (
        f"the swarm manager at {manager.address} refused with {status}: rpc error: the swarm does not have a leader"
    )


def test_a_403_hints_at_mkes_roles(engine: Engine) -> None:
    told = message(lambda: engine.says(403, {"message": "access denied"}).get("/nodes"))
    assert told.endswith(
        "refused with 403: access denied. Your MKE role may lack the right: use an admin's client bundle"
    )


@pytest.mark.parametrize(
    ("body", "said"), [(b"Bad Gateway\n", "Bad Gateway"), (b"", "Internal Server Error"), (b'{"a": 1}', '{"a": 1}')]
)
def test_an_error_that_is_not_the_engines_is_reported_as_it_is(engine: Engine, body: bytes, said: str) -> None:
    with pytest.raises(EngineError) as caught:
        engine.says(500, body).get("/nodes")
    assert caught.value.message == said


ODD = [b"<html>Sign in</html>", b"", b"5", b"true", b"null", b'"x"', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("body", [*ODD, b"[]"])
def test_an_odd_answer_in_an_objects_place_is_one_line(engine: Engine, body: bytes) -> None:
    manager = engine.says(200, body)
    acts = (lambda: manager.get("/nodes/n1"), lambda: manager.find("/nodes/n1"), lambda: manager.create("configs", {}))
    for act in acts:
        assert message(act).startswith("msr-cache:swarm.host: found an answer to /")


@pytest.mark.parametrize("body", [*ODD, b"{}"])
def test_an_odd_answer_in_a_lists_place_is_one_line(engine: Engine, body: bytes) -> None:
    assert message(lambda: engine.says(200, body).get("/nodes")) == (
        "msr-cache:swarm.host: found an answer to /nodes that is not the Docker Engine API's, "
        f"expected a swarm manager at {engine.manager.address}"
    )


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b"[" * 100_000, b"<html>" * 10_000])
def test_an_odd_error_is_one_line_that_is_not_too_long(engine: Engine, body: bytes) -> None:
    assert len(message(lambda: engine.says(500, body).get("/nodes"))) < 700


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ID", "message", "x"]), inner),
    max_leaves=6,
)


@given(st.integers(200, 599), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_manager_answers_is_taken_or_refused_in_one_line(status: int, body: bytes) -> None:
    manager = Manager(Address("unix:///nowhere"))
    manager._connection = SimpleNamespace(ask=lambda *_: Answer(status, "Odd", body, 0))  # type: ignore[assignment]
    with suppress(Refusal):
        assert all(isinstance(item, dict) for item in manager.get("/nodes"))
    with suppress(Refusal):
        assert isinstance(manager.find("/nodes/n1"), dict | None)
    with suppress(Refusal):
        assert isinstance(manager.create("configs", {}), str)
    with suppress(Refusal):
        manager.remove("configs", "c1")


@pytest.mark.parametrize(("ahead", "told"), [(-3600, "3600 s behind"), (90, "90 s ahead of"), (30, ""), (0, "")])
def test_a_clock_that_differs_from_the_managers_is_a_warning(ahead: float, told: str) -> None:
    manager = Manager(Address("unix:///nowhere"))
    answer = Answer(200, "OK", b"[]", ahead)
    manager._connection = SimpleNamespace(ask=lambda *_: answer)  # type: ignore[assignment]
    assert manager.get("/nodes") == []
    warnings = list(manager.warnings())
    assert len(warnings) == bool(told)
    assert all(f"this machine's clock is {told} the manager's" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("tcp://10.0.0.1:2375", True),
        ("tcp://manager-1:2375", True),
        ("tcp://127.0.0.1:2375", False),
        ("ssh://ops@manager-1", False),
        ("unix:///var/run/docker.sock", False),
    ],
)
def test_a_way_to_another_machine_without_tls_is_a_warning(host: str, *, told: bool) -> None:
    warnings = list(Address(host).warnings())
    assert len(warnings) == told
    assert all(each.startswith(f"msr-cache:swarm.host: {host} has no TLS") for each in warnings)


# The manager that does not answer


def unreachable(address: Address) -> str:
    """Return why the manager can't be reached; the rest of the error says where the address is, and what to do."""
    told = message(lambda: Manager(address).get("/nodes"))
    start = f"msr-cache:swarm.{address.key}: found {address}, expected a manager that answers ("
    assert told.startswith(start)
    why, _, command = told.removeprefix(start).partition("). Check it with: ")
    expected = {"clientBundle": f"cd {address.cert_path} && . ./env.sh && docker node ls"}
    assert command == expected.get(address.key, f"docker -H {address} node ls")
    return why


def test_a_socket_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert unreachable(Address(host=f"unix://{tmp_path}/docker.sock")) == "No such file or directory"


def test_a_port_where_nobody_listens_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert unreachable(Address(host=f"tcp://127.0.0.1:{taken.getsockname()[1]}")) == "Connection refused"


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:70000", "tcp://nobody.invalid:2375", f"unix:///{'a' * 200}"])
def test_an_address_that_is_none_is_one_line(host: str) -> None:
    assert unreachable(Address(host=host))


def test_a_manager_that_hangs_is_one_line_after_the_timeout(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 0.2)
    engine.hangs.clear()
    assert unreachable(engine.manager.address) == "timed out"


def test_a_tls_port_without_a_bundle_is_one_line(engine: Engine) -> None:
    engine.says(400, b"Client sent an HTTP request to an HTTPS server.\n")
    assert unreachable(engine.manager.address) == "it requires TLS: use `clientBundle` or `context`"


def test_a_bundle_whose_files_are_no_certificates_is_one_line(engine: Engine, tmp_path: Path) -> None:
    env = f"export DOCKER_HOST=tcp://127.0.0.1:{engine.server_port}\n"
    assert unreachable(from_bundle(bundle_folder(tmp_path, **{"env.sh": env})))
    assert engine.asked == []


# What must not leave for elsewhere, or be shown


def test_a_redirect_is_an_error_and_not_followed(engine: Engine) -> None:
    with pytest.raises(EngineError) as caught:
        engine.says(302, {"message": "moved"}).get("/nodes")
    assert caught.value.status == 302
    assert len(engine.asked) == 1


@pytest.mark.parametrize("host", ["ssh://ops@m", "ssh://ops:hunter2@m", "tcp://ops:hunter2@m:2376"])
def test_a_password_in_an_address_is_not_shown(host: str) -> None:
    assert str(Address(host=host)) == host.replace("hunter2", "[secret]")
