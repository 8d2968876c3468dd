"""The HTTPS client for MSR and the caches: explicit trust, a deadline, a size limit.

It follows no redirect, and reads neither a proxy, a .netrc file nor a CA from the environment.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, IncompleteRead
from socket import create_connection, socket
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote, urlsplit

from msr_cache.foreign import shown
from msr_cache.progress import slowly
from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TIMEOUT = 10
"""Seconds: the limit for connecting to each address of a server, for the handshake, and for each wait for bytes."""
LARGEST = 4 << 20
"""Bytes: the limit that registries set for a manifest, the largest document that MSR serves."""
_AS_GO = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
"""Flags for the same verdict as Go's, and on each version of Python: an intermediate may be the root of trust.

Not VERIFY_X509_STRICT, which Python 3.13 sets where nobody says: it refuses a CA without key identifiers.
"""
_AS_IT_IS = "!$%&'()*+,/:;=?@[]~"
"""What a path and query may hold beside letters, digits and `_.-`; all else is escaped."""


class Failed(Refusal):
    """No complete answer arrived. The text follows the server's name: "can't be reached (...)"."""


class Untrusted(Failed):
    """The server's certificate does not verify. Nothing was sent."""


class Unanswered(Failed):
    """The server can't be reached, or the connection broke: the request may or may not have taken effect."""


class DeadlinePassed(Unanswered):
    """The server took too long."""


class TooLarge(Unanswered):
    """The answer exceeds the size limit."""


class Answer(NamedTuple):
    """An answer of any status; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    """A client of the server at `url` that trusts `ca_pem` alone, or the operating system's CAs if that is None.

    A request ends after `seconds`, even if the server keeps sending, and after `largest` bytes. `address` (host, port)
    is where to connect, if not where `url` leads; the server is asked for the name in `url`, and verified by it.
    """

    url: str
    ca_pem: str | None
    verify: bool = True
    seconds: float = TIMEOUT
    largest: int = LARGEST
    address: tuple[str, int] | None = None

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, write: _Write | None = None
    ) -> Answer:
        """Send one request. The answer's body goes to `write` if you pass it, else into the Answer."""
        host = urlsplit(self.url).netloc.rpartition("@")[2]
        received, size = bytearray(), 0
        with self._connected() as connected:
            connection = HTTPConnection("msr")
            connection.sock = connected
            connection.request(method, quote(path, safe=_AS_IT_IS), body, {"Host": host, **headers})
            with connection.getresponse() as response:
                while chunk := response.read(1 << 16):
                    size += len(chunk)
                    if size > self.largest:
                        raise TooLarge(f"sent more than {self.largest} bytes")
                    (write or received.extend)(chunk)
                if response.length:
                    raise IncompleteRead(b"", response.length)
        found = {name.lower(): response.headers[name] for name in response.headers}
        return Answer(response.status, found, bytes(received))

    def certificate(self) -> bytes:
        """Shake hands, without HTTP, and return the server's certificate in DER form."""
        with self._connected() as connected:
            return connected.getpeercert(binary_form=True) or b""

    @contextmanager
    def _connected(self) -> Iterator[TimedTls]:
        """Connect, and shake hands; whatever then fails in the block is a Failed, too."""
        server, deadline, wait = urlsplit(self.url), time.monotonic() + self.seconds, min(TIMEOUT, self.seconds)
        try:
            with (
                slowly(f"{shown(self.url)} to answer"),
                create_connection(self.address or (server.hostname, server.port or 443), wait) as plain,
                self._context().wrap_socket(plain, server_hostname=server.hostname) as secured,
            ):
                connected = cast("TimedTls", secured)
                connected.deadline = deadline
                yield connected
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(
                f"has a certificate that does not verify with the trusted CA ({shown(error.verify_message)})"
            ) from None
        except TimeoutError:
            limits = f"{TIMEOUT} s without a byte, {self.seconds:g} s in total"
            raise DeadlinePassed(f"did not answer in time (timed out: {limits})") from None
        except (OSError, ValueError, HTTPException) as error:
            # A ValueError's text repeats a header, which may hold a token, or a URL.
            why = type(error).__name__ if isinstance(error, ValueError) else reason(error)
            raise Unanswered(f"can't be reached from here ({why})") from None

    def _context(self) -> ssl.SSLContext:
        context = tls_context()
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_pem is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=self.ca_pem)
        return context


_Write = Callable[[bytes], object]


class Timed(socket):
    """A socket that waits for bytes until `deadline` (time.monotonic) at most, however they drip."""

    deadline: float

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(min(self.gettimeout() or left, left))
        return super().recv_into(buffer, nbytes or 0, flags)


class TimedTls(Timed, ssl.SSLSocket):
    """The same over TLS."""


def tls_context() -> ssl.SSLContext:
    """Return a client's context that trusts nobody yet. Its sockets are TimedTls."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TimedTls
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = _AS_GO
    return context


def parsed(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of an answer; ValueError if it is none, or holds text that can't be shown."""
    try:
        found = json.loads(body)
        json.dumps(found, ensure_ascii=False).encode()  # UnicodeEncodeError: half of a surrogate pair
    except RecursionError:
        raise ValueError("nested too deep") from None
    return found


def reason(error: BaseException) -> str:
    """Return why a request failed, in words, without the system's number of the error."""
    return shown(getattr(error, "strerror", None) or error) or type(error).__name__
