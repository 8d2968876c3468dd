"""Checks that a manager answers at the swarm's address, before the program declares anything.

pulumi-docker reports a wrong address as "failed to connect to any docker daemon", and waits forever for a manager that
hangs. This check takes milliseconds. Via ssh it would take a second, so the first real request checks it instead.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from msr_cache.refusal import Refusal
from msr_cache.swarm.manager import Address, unknown_context

TIMEOUT = 10
"""Seconds to wait for the manager's answer."""


def probe(address: Address) -> None:
    """Raise Refusal if no manager answers."""
    if address.context:
        if address.context != "default" and not _metadata(address.context).is_file():
            raise unknown_context(address.context)
    elif address.host and not address.host.startswith("ssh://"):
        try:
            with _connection(address.host, address.cert_path) as connection:
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                answer = connection.recv(1024)
        except (OSError, ValueError) as error:
            raise _no_answer(address, str(error)) from None
        if not answer:
            raise _no_answer(address, "the connection was closed")
        if b"HTTPS server" in answer:  # Go's error text
            raise _no_answer(address, "it requires TLS: use `clientBundle` or `context`")


def _metadata(context: str) -> Path:
    """Return the file in which the docker CLI stores a context."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    return folder / "contexts/meta" / hashlib.sha256(context.encode()).hexdigest() / "meta.json"


def _connection(host: str, cert_path: str | None) -> socket.socket:
    url = urlsplit(host)
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.connect(url.path)
        return connection
    connection = socket.create_connection((url.hostname, url.port), TIMEOUT)
    if cert_path is None:
        return connection
    # Not create_default_context: it is stricter than Go, the provider's language.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(f"{cert_path}/ca.pem")
    context.load_cert_chain(f"{cert_path}/cert.pem", f"{cert_path}/key.pem")
    return context.wrap_socket(connection, server_hostname=url.hostname)


def _no_answer(address: Address, why: str) -> Refusal:
    key, command = "host", f"docker -H {address} node ls"
    if address.cert_path:
        key, command = "clientBundle", f"cd {address.cert_path} && . ./env.sh && docker node ls"
    return Refusal(
        f"msr-cache:swarm.{key}: found {address}, expected a manager that answers ({why}). Check it with: {command}"
    )
