"""The HTTPS client for MSR and the caches: explicit trust, a deadline, a size limit.

It uses the adapter of `requests` without a Session, so it follows no redirect, and reads neither a proxy, a .netrc file
nor a CA from the environment. `requests` takes 0.04 s to import, so only a request imports it.
"""

from __future__ import annotations

import ssl
import time
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass
from socket import create_connection
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from _typeshed import WriteableBuffer
    from requests.adapters import HTTPAdapter

TIMEOUT = 10
"""Seconds for one request, from the handshake to the last byte."""
LARGEST = 4 << 20
"""Bytes: the limit that registries set for a manifest, the largest document that MSR serves."""
_CHUNK = 1 << 16
# `verify=False` is deliberate: only such a client can look at a certificate before anything trusts it.
warnings.filterwarnings("ignore", message="Unverified HTTPS request")


class Failed(Refusal):
    """No complete answer arrived; the text is the reason alone, without the URL."""


class Untrusted(Failed):
    """The server's certificate does not verify. Nothing was sent."""


class Unanswered(Failed):
    """The server can't be reached, or the connection broke: the request may or may not have taken effect."""


class DeadlinePassed(Unanswered):
    """The server took too long."""


class TooLarge(Unanswered):
    """The answer exceeds the size limit."""


@dataclass(frozen=True)
class Answer:
    """An answer of any status; header names ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    """A client of the server at `url` that trusts `ca_pem` alone; None: the operating system's CAs.

    A request takes at most `seconds` in total, and at most `pause` without a byte. Connecting may take `pause` for each
    of the server's addresses; the system's resolver has its own limit.
    """

    url: str
    ca_pem: str | None
    verify: bool = True
    seconds: float = TIMEOUT
    pause: float = TIMEOUT
    largest: int = LARGEST

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        write: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """Send one request. The answer's body goes to `write` if you pass it, else into the Answer."""
        from requests import Request

        received, size = bytearray(), 0
        with _failures(), closing(_adapter(self._context())) as adapter:
            url = f"https://{_without_user(self.url)}{path}"
            request = Request(method, url, dict(headers or {}), data=body).prepare()
            with adapter.send(request, stream=True, timeout=min(self.pause, self.seconds)) as response:
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    size += len(chunk)
                    if size > self.largest:
                        raise TooLarge(f"the answer is larger than {self.largest} bytes")
                    (write or received.extend)(chunk)
        return Answer(response.status_code, response.headers, bytes(received))

    def certificate(self) -> bytes:
        """Shake hands, without HTTP, and return the server's certificate in DER form."""
        server = urlsplit(self.url)
        with (
            _failures(),
            create_connection((server.hostname, server.port or 443), min(self.pause, self.seconds)) as plain,
            self._context().wrap_socket(plain, server_hostname=server.hostname) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    def _context(self) -> _Context:
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.deadline = time.monotonic() + self.seconds
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python 3.13 adds VERIFY_X509_STRICT, which rejects certificates that Docker accepts.
        context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_pem is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=self.ca_pem)
        return context


class _Socket(ssl.SSLSocket):
    """Lets the handshake and each read wait only until the deadline of its context."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        self._limit_wait()
        super().do_handshake(block)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self._limit_wait()
        return super().recv_into(buffer, nbytes, flags)

    def _limit_wait(self) -> None:
        left = cast("_Context", self.context).deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(min(self.gettimeout() or left, left))


class _Context(ssl.SSLContext):
    deadline: float
    sslsocket_class = _Socket


def _adapter(context: ssl.SSLContext) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Uses `context` as it is: requests would add certifi's CAs to it."""

        def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' own
            server, _ = super().build_connection_pool_key_attributes(*args, **options)
            return server, {"ssl_context": context}

        def cert_verify(self, *_: object) -> None:
            pass

    return Adapter()


@contextmanager
def _failures() -> Iterator[None]:
    from requests.exceptions import InvalidHeader
    from urllib3.exceptions import HTTPError

    try:
        yield
    except InvalidHeader:  # its text repeats the header, which may hold a token
        raise Unanswered("a header holds characters that HTTP does not allow") from None
    except (OSError, HTTPError) as error:  # requests' errors are OSErrors
        cause = root_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Untrusted(cause.verify_message) from None
        if isinstance(cause, TimeoutError):
            raise DeadlinePassed("timed out") from None
        raise Unanswered(str(cause) or type(cause).__name__) from None


def root_cause(error: BaseException) -> BaseException:
    """Return the error that `error` wraps in others; a Refusal that is being handled meanwhile is not part of it."""
    while error.__context__ is not None and not isinstance(error.__context__, Refusal):
        error = error.__context__
    return error


def _without_user(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
