"""A certificate that is about to end, and a client that connects all the while it is renewed."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.end_to_end.background import repeatedly
from tests.end_to_end.stack import FQDN, PORT, Stack

PERIOD = 0.05
"""Seconds between two handshakes."""


def age(stack: Stack, *, days_left: float) -> None:
    """Let the state say that the certificate ends in so many days: nobody waits for a year."""
    state = stack.export(show_secrets=True)
    ends = datetime.now(UTC) + timedelta(days=days_left)
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "tls:index/selfSignedCert:SelfSignedCert":
            resource["outputs"]["validityEndTime"] = ends.isoformat()
        if resource["type"].endswith(":Rollout"):
            resource["inputs"]["certificateExpires"] = resource["outputs"]["certificateExpires"] = ends.isoformat()
    stack.restore(state)


@dataclass(frozen=True)
class Handshake:
    """What was served by which address, or the error; times are the monotonic clock's."""

    began: float
    ended: float
    address: str
    served: str = ""
    error: str = ""


@contextmanager
def connecting(*addresses: str, draining: bool = True) -> Iterator[list[Handshake]]:
    """Shake hands with the cache 20 times a second, as a client does whose name for it has these addresses.

    It begins with each in turn, and goes on to the next where nobody takes the connection, or where it is reset: the
    kernel takes connections for a registry until that closes its port, and then resets those that wait. A registry
    that is not `draining`, because its config.yml has no draintimeout, also ends those that it has taken. The docker
    engine tries again after any error. Another handshake that was begun and then failed is a failure.
    """
    excused = ("ConnectionResetError",) if draining else ("ConnectionResetError", "SSLEOFError")
    seen: list[Handshake] = []
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # which certificate is served is what is asked for

    def shake_hands() -> None:
        began = time.monotonic()
        served, error = "", ""
        for turn in range(len(addresses)):
            address = addresses[(len(seen) + turn) % len(addresses)]
            try:
                plain = socket.create_connection((address, PORT), timeout=1)
            except OSError as refused:
                error = repr(refused)
                continue
            served, error = _served(plain, context)
            if not error.startswith(excused):
                break
        seen.append(Handshake(began, time.monotonic(), address, served, error))

    with repeatedly(shake_hands, PERIOD):
        yield seen


def _served(plain: socket.socket, context: ssl.SSLContext) -> tuple[str, str]:
    """Return the certificate that is served, or the error."""
    try:
        with plain, context.wrap_socket(plain, server_hostname=FQDN) as secured:
            return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"").strip(), ""
    except OSError as error:
        return "", repr(error)


@dataclass(frozen=True)
class Gap:
    """Between the last handshake with the old certificate and the first with the new one."""

    first: float
    last: float

    @property
    def seconds(self) -> float:
        return self.last - self.first


def the_gap(seen: list[Handshake]) -> Gap:
    """Return when nobody served of what was seen at one address, which must never go back to the old certificate."""
    served = [one for one in seen if one.served]
    old, new = served[0].served, served[-1].served
    assert old != new
    kept = [one.served for one in served]
    assert kept == sorted(kept, key=[old, new].index), "never back to the old one, nor to a third"
    return Gap(
        max(one.ended for one in served if one.served == old), min(one.ended for one in served if one.served == new)
    )
