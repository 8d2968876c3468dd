"""Stands between a client and the site's manager: answers 403, hangs up half-way, or is not there, as it is told."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_BODY = b'{"message":"access denied: no access to resource"}'
_HEAD = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
FORBIDDEN = _HEAD.encode() + _BODY


class Middleman:
    """A unix socket at `path`; `forbid` is a pattern of request lines that are answered with 403."""

    def __init__(self, path: Path, manager: str) -> None:
        self.path = path
        self.manager = manager.removeprefix("unix://")
        self.forbid: str | None = None
        self.left: int | None = None
        """How many more requests are passed on before every connection is cut; None: all."""
        self._listener: socket.socket | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as manager, suppress(OSError):
            manager.connect(self.manager)
            back = threading.Thread(target=_copy, args=(manager, client), daemon=True)
            back.start()
            while request := client.recv(1 << 16):
                first = request.split(b"\r\n", 1)[0].decode(errors="replace")
                if re.match(r"[A-Z]+ /\S* HTTP/", first):
                    if self.left is not None:
                        if self.left <= 0:
                            return
                        self.left -= 1
                    if self.forbid and re.search(self.forbid, first):
                        client.sendall(FORBIDDEN)
                        continue
                manager.sendall(self._passed_on(request, client))

    def _passed_on(self, request: bytes, _client: socket.socket) -> bytes:
        """Return what the manager gets to read of a request, of which the client may not have sent all yet."""
        return request


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


# As `docker service inspect` shows it of services that were made through MKE (then UCP) by an admin.
_COLLECTION = {
    "com.docker.ucp.access.label": "/",
    "com.docker.ucp.collection": "swarm",
    "com.docker.ucp.collection.root": "true",
    "com.docker.ucp.collection.swarm": "true",
}
NODE_LABELS = ("com.docker.ucp.collection.swarm", "com.docker.ucp.orchestrator.swarm")


class Mke(Middleman):
    """Adds labels and constraints to each service that is made or changed, as Mirantis Kubernetes Engine does."""

    def _passed_on(self, request: bytes, client: socket.socket) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if not length or not re.match(rb"POST /\S*services/(create|\w+/update)", head):
            return request
        while len(body) < int(length[1]):
            body += client.recv(1 << 16)
        spec = json.loads(body)
        template = spec["TaskTemplate"]
        for labelled in (spec, template["ContainerSpec"]):
            labelled["Labels"] = (labelled.get("Labels") or {}) | _COLLECTION
        placement = template.setdefault("Placement", {})
        theirs = [f"node.labels.{label}==true" for label in NODE_LABELS]
        placement["Constraints"] = list(dict.fromkeys([*(placement.get("Constraints") or []), *theirs]))
        body = json.dumps(spec).encode()
        return head.replace(length[0], f"Content-Length: {len(body)}".encode()) + b"\r\n\r\n" + body
