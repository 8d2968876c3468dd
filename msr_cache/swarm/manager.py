"""How a manager of the swarm is reached, for the pulumi-docker provider and for the docker SDK alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msr_cache.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient
    from requests import Response

API_VERSION = "1.41"
"""Docker Engine 20.10's: the oldest engine that MSR 2.9 runs on, spoken by all later ones up to 28."""
TIMEOUT = 20
"""Seconds until a manager that does not answer is said to be unreachable."""


@dataclass(frozen=True)
class Address:
    """A manager's address; `cert_path` is the folder of ca.pem, cert.pem and key.pem of a client bundle.

    A path, since the provider stores key material in clear in the state (pulumi-docker issue 643).
    """

    host: str | None = None
    cert_path: str | None = None
    context: str | None = None

    @classmethod
    def from_config(cls, swarm: Mapping[str, Any]) -> Address:
        """Read `msr-cache:swarm`, unpacking a bundle's zip file beside itself when it is new."""
        if bundle := swarm.get("clientBundle"):
            # Only here: it reads zip files, and what does that is slow to import.
            from msr_cache.swarm import client_bundle

            folder = client_bundle.unpacked(Path(bundle).expanduser())
            return cls(host=client_bundle.host(folder), cert_path=str(folder))
        if context := swarm.get("context"):
            return cls(context=context)
        return cls(host=swarm["host"])

    def __str__(self) -> str:
        return self.host or f"docker context {self.context}"

    def client(self) -> APIClient:
        """Return a docker SDK client; no connection is made before its first call."""
        # The SDK takes 0.1 s to import, which a preview that asks nothing of the swarm need not pay.
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
        over_ssh = str(host).startswith("ssh://")
        return APIClient(base_url=host, tls=tls, version=API_VERSION, timeout=TIMEOUT, use_ssh_client=over_ssh)


def unknown_context(name: str) -> Refusal:
    """Return what is to be said of a docker context that is not there."""
    from docker.utils.config import find_config_file

    message = f"msr-cache:swarm.context: found {name!r}, which `docker context ls` does not show"
    if find_config_file() is None:  # beside which alone the SDK looks for contexts
        message += "; or write {} into ~/.docker/config.json: contexts are found only beside that file"
    return Refusal(message)


class EngineError(Refusal):
    """The manager answered, with an error: `status` is HTTP's, `said` the engine's own words."""

    def __init__(self, manager: str, status: int, said: str) -> None:
        hint = "; an MKE role may lack the right: use an admin's client bundle" if status == FORBIDDEN else ""
        super().__init__(f"the swarm manager at {manager} refused with {status}: {said}{hint}")
        self.status = status
        self.said = said


FORBIDDEN, NOT_FOUND, CONFLICT, INTERNAL_ERROR = 403, 404, 409, 500


class Manager:
    """The Engine API of a swarm manager, as JSON. What goes wrong is a Refusal (EngineError where it answered)."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: APIClient | None = None

    def get(self, path: str, **filters: list[str]) -> Any:  # noqa: ANN401 - JSON
        """GET an object or, with filters, a list of them."""
        return self._call("GET", path, params={"filters": json.dumps(filters)} if filters else None).json()

    def find(self, path: str) -> dict[str, Any] | None:
        """GET an object; None only where the manager says that it has none such."""
        try:
            found: dict[str, Any] = self.get(path)
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
            return None
        return found

    def text(self, path: str, **params: str) -> bytes:
        """GET a stream's bytes as they are."""
        return self._call("GET", path, params=params).content

    def create(self, kind: str, spec: Mapping[str, Any]) -> str:
        """Create an object of `kind` (services, configs, secrets); return its id."""
        return str(self._call("POST", f"/{kind}/create", json=spec).json()["ID"])

    def update(self, kind: str, known: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        """Write `spec` over the object `known`, provided that nobody changed it since it was read."""
        params = {"version": str(known["Version"]["Index"])}
        self._call("POST", f"/{kind}/{known['ID']}/update", params=params, json=spec)

    def remove(self, kind: str, id_: str) -> None:
        """Remove an object; one that is gone already is fine."""
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
            answer: Response = self._client.request(method, url, timeout=TIMEOUT, **options)
        except (DockerException, RequestException, OSError) as error:
            message = f"msr-cache:swarm: the manager at {self.address} can't be reached ({_innermost(error)})"
            raise Refusal(message) from None
        if not answer.ok:
            raise EngineError(str(self.address), answer.status_code, _said(answer))
        return answer


def _said(answer: Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return answer.text.strip() or answer.reason


def _innermost(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


def address_from_json(text: str | None) -> Address:
    """Return the address that the engine hands to providers as JSON text."""
    if not text:
        message = "msr-cache:swarm: missing, and there is no default for it"
        raise Refusal(message)
    # A refresh or destroy runs no program, which would have checked the config.
    try:
        swarm = json.loads(text)
    except ValueError:
        swarm = None
    if not isinstance(swarm, dict) or not swarm.keys() & {"host", "context", "clientBundle"}:
        message = f"msr-cache:swarm: found {text!r}, allowed is a map with one of host, context and clientBundle"
        raise Refusal(message)
    return Address.from_config(swarm)
