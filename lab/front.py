"""The TLS front of the MSR stand-in, a process of its own: MSR's own answers, and its registry's below /v2/."""

import socket
import ssl
import sys
from http import HTTPStatus
from pathlib import Path

import urllib3
from flask import Response, g, request
from werkzeug.serving import make_server
from werkzeug.wrappers import Response as AnyResponse

from lab.msr_api import app, redirected, refuse

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "server", "date"}
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_UNTRUSTED = "x509: certificate signed by unknown authority"


@app.get("/ca")
def ca() -> Response:
    """What MSR shows as its CA, to everybody."""
    return Response((app.config["FOLDER"] / "shown-ca.pem").read_bytes(), content_type="application/x-pem-file")


@app.before_request
def fail() -> None:
    """Do what `Msr.fail` has asked for."""
    method, _, how = (app.config["FOLDER"] / "failure").read_text().partition(" ")
    g.how = how if method == request.method and request.path.startswith("/api/") else ""
    if g.how == "hang":
        request.get_data()
        request.environ["werkzeug.socket"].recv(1)  # until the client gives up
        raise ConnectionError
    if g.how.isdigit():
        status = HTTPStatus(int(g.how))
        refuse(status, status.name, _UNTRUSTED if status == HTTPStatus.BAD_REQUEST else status.phrase)


@app.after_request
def log(response: Response) -> Response:
    """Write the request down; and keep the answer back if it is to be lost."""
    if g.how == "lost":
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError
    sent = 0 if request.method == "HEAD" else response.content_length or 0
    with (app.config["FOLDER"] / "requests.log").open("a") as file:
        file.write(f"{request.method} {request.environ['REQUEST_URI']} {response.status_code} {sent}\n")
    return response


@app.route("/v2/", defaults={"path": ""}, methods=_METHODS)
@app.route("/v2/<path:path>", methods=_METHODS)
def registry(path: str) -> AnyResponse:
    """Redirect a blob to the user's cache; pass all else on."""
    if sent_on := redirected(path):
        return sent_on
    # With our Host and this one the registry writes the URLs in its answers as ours.
    headers = {**request.headers, "X-Forwarded-Proto": "https"}
    options = {"preload_content": False, "decode_content": False, "redirect": False, "retries": False}
    url = request.environ["REQUEST_URI"]
    answer = app.config["UPSTREAM"].urlopen(request.method, url, request.get_data(), headers, **options)
    kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
    return Response(answer.stream(1 << 16), answer.status, kept)


def main() -> None:
    """Serve until the process is ended: ADDRESS PORT UPSTREAM FOLDER, where UPSTREAM is the registry's host:port."""
    address, port, upstream, folder = sys.argv[1:]
    pool = urllib3.connection_from_url(f"http://{upstream}", maxsize=64, timeout=60)
    app.config.update(FOLDER=Path(folder), UPSTREAM=pool, PROPAGATE_EXCEPTIONS=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(folder) / "server.pem", Path(folder) / "server.key")
    server = make_server(address, int(port), app, threaded=True)
    # Not by its own option: a client that is slow with its handshake would keep the others waiting.
    server.ssl_context = context
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
