"""Checks that a manager answers at the swarm's address, before the program declares anything.

pulumi-docker reports a wrong address as "failed to connect to any docker daemon", and waits forever for a manager that
hangs. Via ssh this would take a second, so the first real request checks it instead.
"""

from __future__ import annotations

from msr_cache.https import reason
from msr_cache.refusal import Refusal
from msr_cache.swarm.connection import connect
from msr_cache.swarm.manager import Address

TIMEOUT = 10
"""Seconds to wait for the manager's answer."""


def probe(address: Address) -> None:
    """Raise Refusal if no manager answers."""
    if address.host.startswith("ssh://"):
        return
    try:
        with connect(address.host, address.cert_path) as connection:
            connection.settimeout(TIMEOUT)
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            answer = connection.recv(1024)
    except (OSError, ValueError) as error:
        raise _no_answer(address, reason(error)) from None
    if not answer:
        raise _no_answer(address, "the connection was closed")
    if b"HTTPS server" in answer:  # Go's error text
        raise _no_answer(address, "it requires TLS: use `clientBundle` or `context`")


def _no_answer(address: Address, why: str) -> Refusal:
    command = f"docker -H {address} node ls"
    if address.key == "clientBundle":
        command = f"cd {address.cert_path} && . ./env.sh && docker node ls"
    if address.key == "context":
        command = "docker --context NAME node ls"
    return Refusal(
        f"msr-cache:swarm.{address.key}: found {address}, expected a manager that answers ({why}). "
        f"Check it with: {command}"
    )
