"""What a registry that stops does with a connection that it has taken: docs/adopt.md and `connecting` rely on it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
import requests

from lab.process import Process, wait_until

pytestmark = pytest.mark.swarm


@pytest.mark.parametrize(("drain", "answer"), [({"draintimeout": "9s"}, b"HTTP/1.1 200 OK"), ({}, b"")])
def test_a_registry_that_stops_serves_the_connections_that_it_has_taken_only_with_a_draintimeout(
    tmp_path: Path, drain: dict[str, str], answer: bytes
) -> None:
    config = {"version": 0.1, "storage": {"inmemory": {}}, "http": {"addr": "127.0.0.1:0", **drain}}
    (tmp_path / "config.yml").write_text(json.dumps(config))
    registry = Process(tmp_path / "pid", tmp_path / "log")
    registry.start("/usr/bin/docker-registry", "serve", tmp_path / "config.yml")
    try:
        wait_until(lambda: "listening on" in registry.log.read_text(), "it does not listen")
        (port,) = re.findall(r"listening on 127.0.0.1:(\d+)", registry.log.read_text())
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as taken:
            assert requests.get(f"http://127.0.0.1:{port}/v2/", timeout=5).ok, "so the connection before was taken"
            pid = registry.pid()
            assert pid
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not _listens(int(port)), "it still listens")
            if answer:
                taken.sendall(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n")
            assert taken.recv(len(answer) or 1) == answer
    finally:
        registry.stop()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
