"""The HTTPS client for MSR and the caches: explicit trust, a deadline, a size limit.

It uses the adapter of `requests` without a Session, so it follows no redirect, and reads neither a proxy, a .netrc file
nor a CA from the environment. `requests` takes 0.04 s to import, so only a request imports it.
"""

from __future__ import annotations

import json
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from socket import create_connection, socket
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from msr_cache.foreign import shown
from msr_cache.progress import slowly
from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from requests.adapters import HTTPAdapter

TIMEOUT = 10
"""Seconds: the limit for connecting to each address of a server, for the handshake, and for each wait for bytes."""
LARGEST = 4 << 20
"""Bytes: the limit that registries set for a manifest, the largest document that MSR serves."""
AS_GO = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
"""Flags for the same verdict as Go's, and on each version of Python: an intermediate may be the root of trust.

Not VERIFY_X509_STRICT, which Python 3.13 sets where nobody says: it refuses a CA without key identifiers.
"""
# Deliberate where `verify` is False: to look at a certificate before anything trusts it.
warnings.filterwarnings("ignore", message="Unverified HTTPS request")


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
    """An answer of any status; header names ignore case."""

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
        from requests import Request

        host = urlsplit(self.url).netloc.rpartition("@")[2]
        received, size = bytearray(), 0
        with (
            self._failures(),
            closing(_adapter(self._context(), self.address)) as adapter,
            adapter.send(
                Request(method, f"https://{host}{path}", {"Host": host, **headers}, data=body).prepare(),
                stream=True,
                timeout=self._wait,
            ) as response,
        ):
            for chunk in response.raw.stream(1 << 16, decode_content=False):
                size += len(chunk)
                if size > self.largest:
                    raise TooLarge(f"sent more than {self.largest} bytes")
                (write or received.extend)(chunk)
        return Answer(response.status_code, response.headers, bytes(received))

    def certificate(self) -> bytes:
        """Shake hands, without HTTP, and return the server's certificate in DER form."""
        server = urlsplit(self.url)
        with (
            self._failures(),
            create_connection(self.address or (server.hostname, server.port or 443), self._wait) as plain,
            self._context().wrap_socket(plain, server_hostname=server.hostname) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    @property
    def _wait(self) -> float:
        return min(TIMEOUT, self.seconds)

    def _context(self) -> _Context:
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.deadline = time.monotonic() + self.seconds
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags = AS_GO
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_pem is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=self.ca_pem)
        return context

    @contextmanager
    def _failures(self) -> Iterator[None]:
        from urllib3.exceptions import HTTPError

        try:
            with slowly(f"{shown(self.url)} to answer"):
                yield
        except (OSError, HTTPError) as error:  # requests' errors are OSErrors
            cause = root_cause(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise Untrusted(
                    f"has a certificate that does not verify with the trusted CA ({shown(cause.verify_message)})"
                ) from None
            if isinstance(cause, TimeoutError):
                limits = f"{TIMEOUT} s without a byte, {self.seconds:g} s in total"
                raise DeadlinePassed(f"did not answer in time (timed out: {limits})") from None
            # A ValueError's text repeats a header, which may hold a token, or a URL.
            why = type(cause).__name__ if isinstance(cause, ValueError) else reason(cause)
            raise Unanswered(f"can't be reached from here ({why})") from None


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


class _Socket(Timed, ssl.SSLSocket):
    @property
    def deadline(self) -> float:  # type: ignore[override]
        return cast("_Context", self.context).deadline


class _Context(ssl.SSLContext):
    deadline: float
    sslsocket_class = _Socket


def _adapter(context: ssl.SSLContext, address: tuple[str, int] | None) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Uses `context` as it is: requests would add certifi's CAs to it."""

        def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' own
            server, _ = super().build_connection_pool_key_attributes(*args, **options)
            name = server["host"]
            server |= {"host": address[0], "port": address[1]} if address else {}
            return server, {"ssl_context": context, "server_hostname": name}

        def cert_verify(self, *_: object) -> None:
            pass

    return Adapter()


def parsed(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of an answer; ValueError if it is none, or holds text that can't be shown."""
    try:
        found = json.loads(body)
        json.dumps(found, ensure_ascii=False).encode()  # UnicodeEncodeError: half of a surrogate pair
    except RecursionError:
        raise ValueError("nested too deep") from None
    return found


def root_cause(error: BaseException) -> BaseException:
    """Return the error that `error` wraps in others, but not the Refusal that is being handled meanwhile."""
    while error.__context__ is not None and not isinstance(error.__context__, Refusal):
        error = error.__context__
    return error


def reason(error: BaseException) -> str:
    """Return why a request failed, in the words of its first cause, without the system's number of the error."""
    cause = root_cause(error)
    return shown(getattr(cause, "strerror", None) or cause) or type(cause).__name__
