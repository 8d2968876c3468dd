"""A swarm manager: its address, for the pulumi-docker provider and the docker SDK, and its Engine API."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msr_cache.foreign import shown
from msr_cache.https import root_cause
from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient
    from requests import Response

API_VERSION = "1.41"
"""Docker Engine 20.10's, the oldest that MSR 2.9 runs on; later engines up to 28 support it."""
TIMEOUT = 20
"""Seconds to wait for the next bytes of a manager's answer."""


@dataclass(frozen=True)
class Address:
    """A manager's address; `cert_path` is a client bundle's folder with ca.pem, cert.pem and key.pem.

    It is a path because the provider stores key material in clear text in the state (pulumi-docker issue 643).
    """

    host: str | None = None
    cert_path: str | None = None
    context: str | None = None

    @classmethod
    def from_config(cls, swarm: Mapping[str, Any]) -> Address:
        """Read `msr-cache:swarm`, and unpack the zip file of a new bundle."""
        if bundle := swarm.get("clientBundle"):
            # Imported here because the zip module is slow to import.
            from msr_cache.swarm import client_bundle

            folder = client_bundle.unpacked(Path(bundle).expanduser())
            return cls(host=client_bundle.host(folder), cert_path=str(folder))
        return cls(host=swarm.get("host"), context=swarm.get("context"))

    def __str__(self) -> str:
        return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:[secret]@", self.host or f"docker context {self.context}")

    def client(self) -> APIClient:
        """Return a docker SDK client, which connects on its first call."""
        # Imported here because the SDK takes 0.1 s to import, and not every preview needs the swarm.
        from docker import APIClient, ContextAPI
        from docker.tls import TLSConfig

        host, tls = self.host, None
        if self.context:
            context = ContextAPI.get_context(self.context)
            if context is None:
                raise unknown_context(self.context)
            host, tls = context.Host, context.TLSConfig
        if self.cert_path:
            folder = Path(self.cert_path)
            pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
            tls = TLSConfig(client_cert=pair, ca_cert=str(folder / "ca.pem"), verify=True)
        via_ssh = str(host).startswith("ssh://")
        client = APIClient(base_url=host, tls=tls, version=API_VERSION, timeout=TIMEOUT, use_ssh_client=via_ssh)
        client.trust_env = False  # no proxy, .netrc or CA from the environment
        return client


def unknown_context(name: str) -> Refusal:
    """Return the error for a docker context that does not exist."""
    from docker.utils.config import find_config_file

    message = f"msr-cache:swarm.context: found {name!r}, expected a context that `docker context ls` lists"
    if find_config_file() is None:  # the SDK finds contexts only beside this file
        message += "; if it does, write {} into ~/.docker/config.json, without which the docker SDK finds no context"
    return Refusal(message)


class EngineError(Refusal):
    """An error that the manager returned: its HTTP status and the engine's message."""

    def __init__(self, manager: str, status: int, message: str) -> None:
        hint = ". Your MKE role may lack the right: use an admin's client bundle" if status == FORBIDDEN else ""
        self.message = shown(message)
        super().__init__(f"the swarm manager at {manager} refused with {status}: {self.message}{hint}")
        self.status = status


FORBIDDEN, NOT_FOUND, CONFLICT, INTERNAL_ERROR = 403, 404, 409, 500


class Manager:
    """A swarm manager's Engine API, as JSON. Every failure is a Refusal; an error that it returns is an EngineError.

    The SDK's methods take neither a whole spec nor a task's logs, so this uses the SDK's session with API paths.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: APIClient | None = None

    def get(self, path: str, **filters: list[str]) -> Any:  # noqa: ANN401 - JSON
        """GET an object, or a list with filters."""
        return self._call("GET", path, params={"filters": json.dumps(filters)} if filters else None).json()

    def find(self, path: str) -> dict[str, Any] | None:
        """GET an object; None only if the manager answers that it does not exist."""
        try:
            found: dict[str, Any] = self.get(path)
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
            return None
        return found

    def text(self, path: str, **params: str) -> bytes:
        """GET a stream as bytes."""
        return self._call("GET", path, params=params).content

    def create(self, kind: str, spec: Mapping[str, Any]) -> str:
        """Create an object of `kind` (services, configs, secrets); return its id."""
        return str(self._call("POST", f"/{kind}/create", json=spec).json()["ID"])

    def update(self, kind: str, known: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        """Replace the spec of the object `known`, unless it has changed after it was read."""
        params = {"version": str(known["Version"]["Index"])}
        self._call("POST", f"/{kind}/{known['ID']}/update", params=params, json=spec)

    def remove(self, kind: str, id_: str) -> None:
        """Remove an object, if it still exists."""
        try:
            self._call("DELETE", f"/{kind}/{id_}")
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise

    def _call(self, method: str, path: str, **options: Any) -> Response:  # noqa: ANN401 - requests' own
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            if self._client is None:
                self._client = self.address.client()
            url = f"{self._client.base_url}/v{API_VERSION}{path}"
            answer: Response = self._client.request(method, url, timeout=TIMEOUT, allow_redirects=False, **options)
        except (DockerException, RequestException, OSError) as error:
            cause = root_cause(error)
            reason = str(cause) or type(cause).__name__
            raise Refusal(f"msr-cache:swarm: the manager at {self.address} can't be reached ({reason})") from None
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            raise EngineError(str(self.address), answer.status_code, _message(answer))
        return answer


def _message(answer: Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return answer.text.strip() or answer.reason


def address_from_json(text: str | None) -> Address:
    """Return the address from the JSON that the engine passes to providers."""
    # Checked here too: refresh and destroy do not run the program.
    try:
        swarm = json.loads(text or "null")
    except ValueError:
        swarm = None
    if not isinstance(swarm, dict) or not swarm.keys() & {"host", "context", "clientBundle"}:
        found = repr(text) if text else "nothing"
        raise Refusal(f"msr-cache:swarm: found {found}, expected a map with one of host, context and clientBundle")
    return Address.from_config(swarm)
