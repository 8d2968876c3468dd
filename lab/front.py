"""The TLS front of the MSR stand-in, a process of its own: answers as MSR does, passes /v2/ on to a registry."""

import json
import shutil
import ssl
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3

from lab.msr_api import Answer, Api, Book, Request, failure

_HTML = b"<!doctype html><title>Sign in</title>\n"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "server", "date"}


class Front(BaseHTTPRequestHandler):
    """One connection. `folder` holds the certificates, and `mode` and `failure`, which are read at each request."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    folder: Path
    upstream: urllib3.HTTPConnectionPool
    api: Api

    def setup(self) -> None:
        # Here, not at accept: a client that is slow with its handshake must not keep the others waiting.
        self.request.settimeout(self.timeout)
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        if self.path == "/ca":
            self._answer_ca()
        else:
            self._answer_as_msr(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer_ca(self) -> None:
        mode = (self.folder / "mode").read_text()
        pem = self.folder / ("foreign" if mode == "foreign-ca" else "") / "ca.pem"
        wrong = {"404": (404, "text/plain", b"404 page not found\n"), "html": (200, "text/html", _HTML)}
        self._answer(*wrong.get(mode, (200, "application/x-pem-file", pem.read_bytes())))

    def _answer_as_msr(self, body: bytes) -> None:
        how = self._failure()
        if how == "hang":
            self.rfile.read(1)  # until the client gives up
        elif how and how != "lost":
            self._answer_json(failure(how))
        else:
            asked = Request(self.command, self.path, self.headers.get("Authorization", ""), body)
            answer = self.api.answer(asked)
            if how == "lost":
                self.close_connection = True
            elif answer is None:
                self._pass_on(body)
            else:
                self._answer_json(answer)

    def _failure(self) -> str:
        """How this request is to fail; empty: not at all."""
        method, _, how = (self.folder / "failure").read_text().partition(" ")
        return how if method == self.command and self.path.startswith("/api/") else ""

    def _answer_json(self, answer: Answer) -> None:
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        self._answer(answer.status, "application/json", body, answer.headers)

    def _answer(self, status: int, content_type: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self._log(status, len(body))

    def _pass_on(self, body: bytes) -> None:
        # With our Host and this one the registry writes the URLs in its answers as ours.
        headers = urllib3.HTTPHeaderDict([*self.headers.items(), ("X-Forwarded-Proto", "https")])
        options = {"preload_content": False, "decode_content": False, "redirect": False, "retries": False}
        try:
            response = self.upstream.urlopen(self.command, self.path, body, headers, **options)
            self.send_response(response.status)
            for name, value in response.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            if "Content-Length" not in response.headers:
                self.send_header("Connection", "close")
            self.end_headers()
            shutil.copyfileobj(response, self.wfile)
            response.release_conn()
        except (OSError, urllib3.exceptions.HTTPError) as error:
            self.close_connection = True
            self.log_error("%s %s: %s", self.command, self.path, error)
        else:
            self._log(response.status, int(response.headers.get("Content-Length", 0)))

    def _log(self, status: int, length: int) -> None:
        sent = 0 if self.command == "HEAD" else length
        with (self.folder / "requests.log").open("a") as log:
            log.write(f"{self.command} {self.path} {status} {sent}\n")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing here: `_log` writes a request once it is answered in full."""


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up or refuse our certificate: tests are full of them."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def main() -> None:
    """Serve until the process is ended: ADDRESS PORT UPSTREAM FOLDER, where UPSTREAM is the registry's host:port."""
    address, port, upstream, folder = sys.argv[1:]
    Front.folder = Path(folder)
    Front.upstream = urllib3.connection_from_url(f"http://{upstream}", maxsize=64, timeout=Front.timeout)
    Front.api = Api(Book(Front.folder / "book.json"), f"https://{address}:{port}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Front.folder / "server.pem", Front.folder / "server.key")
    server = Server((address, int(port)), Front)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
