"""HTTP to a manager through a Unix socket, TCP, TLS with a client key, or ssh; with a deadline and a size limit.

It reads nothing from the environment: neither a proxy, nor a CA, nor docker's own variables.
"""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, IncompleteRead
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from msr_cache.https import Timed, TimedTls, tls_context

TIMEOUT = 20
"""Seconds to wait for the connection, and for the next bytes of an answer."""
DEADLINE = 60
"""Seconds for a whole answer."""
LARGEST = 64 << 20
"""Bytes of an answer: above the lists of the largest swarms."""
# Ignores Ctrl-C as the program does, which still needs the manager to clean up.
_SSH = ["sh", "-c", 'trap "" INT; exec ssh "$@"', "ssh"]


class Answer(NamedTuple):
    """An answer of any status; `ahead` is by how many seconds this machine's clock differs from the manager's."""

    status: int
    reason: str
    body: bytes
    ahead: float


class _Ssh(Timed):
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """End ssh too, which does not notice while it still connects."""
        self.process.terminate()
        super().close()


def connect(host: str, cert_path: str | None) -> Timed:
    """Connect to `host` (unix, tcp or ssh URL), by TLS with the key in the folder `cert_path` if that is not None."""
    url = urlsplit(host)
    if url.scheme == "ssh":
        return _by_ssh(url.netloc)
    if url.scheme == "unix":
        plain = Timed(socket.AF_UNIX)
        plain.settimeout(TIMEOUT)
        plain.connect(url.path)
        return plain
    plain = Timed(fileno=socket.create_connection((url.hostname, url.port), TIMEOUT).detach())
    plain.settimeout(TIMEOUT)
    if cert_path is None:
        return plain
    context = tls_context()
    context.load_verify_locations(f"{cert_path}/ca.pem")
    context.load_cert_chain(f"{cert_path}/cert.pem", f"{cert_path}/key.pem")
    return cast("TimedTls", context.wrap_socket(plain, server_hostname=url.hostname))


def _by_ssh(place: str) -> Timed:
    """Connect as docker's CLI does: `docker system dial-stdio` on the other machine is the Engine API."""
    if not (parts := re.fullmatch(r"(?:([^@:]+)@)?(?:\[([^]]+)\]|([^:@]+))(?::([0-9]+))?", place)):
        raise ValueError("no ssh address")
    user, ip, name, port = parts.groups()
    options = [*(["-l", user] if user else []), *(["-p", port] if port else [])]
    ours, theirs = socket.socketpair()
    with theirs:
        command = [*_SSH, *options, "--", ip or name, "docker system dial-stdio"]
        process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
    connection = _Ssh(fileno=ours.detach())
    connection.process = process
    return connection


class Connection(HTTPConnection):
    """Stays open between requests, because ssh takes a second to connect."""

    def __init__(self, host: str, cert_path: str | None) -> None:
        super().__init__("docker")
        self._way = host, cert_path
        self.sock: Timed | None = None

    def ask(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, more: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, with `more` headers; errors are OSError, ValueError or HTTPException."""
        try:
            return self._ask(method, url, body, more or {})
        except BaseException:
            self.close()
            raise

    def _ask(self, method: str, url: str, body: Mapping[str, Any] | None, more: Mapping[str, str]) -> Answer:
        if self.sock and _is_readable(self.sock):  # closed by the manager, meanwhile
            self.close()
        self.sock = self.sock or connect(*self._way)
        self.sock.settimeout(TIMEOUT)
        self.sock.deadline = time.monotonic() + DEADLINE
        headers = {"Host": urlsplit(self._way[0]).netloc.rpartition("@")[2] or "docker", **more}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.request(method, url, None if body is None else json.dumps(body), headers)
        with self.getresponse() as response:
            content = response.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ValueError(f"sent more than {LARGEST} bytes")
            if response.length:
                raise IncompleteRead(content, response.length)
            return Answer(response.status, response.reason, content, _ahead(response.headers["Date"]))


def _is_readable(idle: Timed) -> bool:
    waiting = select.poll()  # select() takes no file number above 1023
    waiting.register(idle, select.POLLIN)
    return bool(waiting.poll(0))


def _ahead(date: str | None) -> float:
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):  # no date
        return 0
