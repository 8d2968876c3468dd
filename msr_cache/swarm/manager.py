"""A swarm manager: its address, for the pulumi-docker provider and for the program, and its Engine API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from msr_cache.foreign import shown
from msr_cache.https import parsed, reason
from msr_cache.progress import slowly
from msr_cache.refusal import Refusal
from msr_cache.swarm import docker_context, environment
from msr_cache.swarm.connection import Answer, Connection
from msr_cache.swarm.shapes import SHAPES, odd_fields

API_VERSION = "1.41"
"""Docker Engine 20.10's, the oldest that MSR 2.9 runs on; later engines up to 28 support it."""
_SKEW = 60
"""Seconds by which clocks may differ without a word."""


@dataclass(frozen=True)
class Address:
    """A manager's address; `registries` are the logins that it pulls with (config/image_registries.py).

    `cert_path` is a folder with ca.pem, cert.pem and key.pem; `key` is where the config has it.
    It is a path because the provider stores key material in clear text in the state (pulumi-docker issue 643).
    """

    host: str
    cert_path: str | None = None
    key: str = "host"
    registries: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    context: str = field(default="", compare=False)

    @classmethod
    def from_config(cls, swarm: Mapping[str, Any], registries: Mapping[str, Any] | None = None) -> Address:
        """Read `msr-cache:swarm`, and unpack the zip file of a new bundle. Refusal: the environment contradicts it."""
        address = cls._read(swarm)
        if address.key != "host":  # a host was checked with the rest of the config
            from msr_cache.config.field_types import swarm_host

            try:
                swarm_host(address.host)
            except ValueError as error:
                raise Refusal(f"msr-cache:swarm.{address.key}: its address: {error}") from None
        environment.refuse_conflicts(address.key, address.host, address.cert_path)
        return replace(address, registries=registries or {})

    @classmethod
    def _read(cls, swarm: Mapping[str, Any]) -> Address:
        if bundle := swarm.get("clientBundle"):
            # Imported here because the zip module is slow to import.
            from msr_cache.swarm import client_bundle

            folder = client_bundle.unpacked(Path(bundle).expanduser())
            return cls(client_bundle.host(folder), str(folder), "clientBundle")
        if name := swarm.get("context"):
            return cls(*docker_context.endpoint(name), "context", context=name)
        return cls(swarm["host"])

    def __str__(self) -> str:
        return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:[secret]@", self.host)

    def warnings(self) -> Iterator[str]:
        """Yield who else may read what is sent to the manager, or act in your place."""
        at, url = f"msr-cache:swarm.{self.key}", urlsplit(self.host)
        if url.scheme == "tcp" and not self.cert_path and url.hostname not in environment.LOOPBACK:
            yield (
                f"{at}: {self} has no TLS. Everybody on the way can read the caches' private keys and control the "
                "swarm: use ssh://, a client bundle, or a context with TLS"
            )
        if self.cert_path:
            folder = Path(self.cert_path)
            if all(path.stat().st_mode & 0o077 for path in (folder, folder / "key.pem")):
                yield f"{at}: other users of this machine may read {folder}/key.pem: run chmod -R go= {folder}"


class EngineError(Refusal):
    """An error that the manager returned: its HTTP status and the engine's message."""

    def __init__(self, manager: str, status: int, message: str) -> None:
        hint = ". Your MKE role may lack the right: use an admin's client bundle" if status == FORBIDDEN else ""
        self.message = shown(message)
        super().__init__(f"the swarm manager at {manager} refused with {status}: {self.message}{hint}")
        self.status = status


FORBIDDEN, NOT_FOUND, CONFLICT, INTERNAL_ERROR = 403, 404, 409, 500


class Manager:
    """A swarm manager's Engine API, as JSON. Every failure is a Refusal; an error that it returns is an EngineError."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection = Connection(address.host, address.cert_path)
        self._ahead = 0.0

    def get(self, path: str, **filters: list[str]) -> Any:  # noqa: ANN401 - JSON
        """GET an object, or a list with filters."""
        answer = self._call("GET", path, {"filters": json.dumps(filters)} if filters else None)
        return self._parsed(answer, path)

    def find(self, path: str) -> dict[str, Any] | None:
        """GET an object; None only if the manager answers that it does not exist."""
        try:
            found: dict[str, Any] = self.get(path)
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
            return None
        return found

    def distribution(self, image: str) -> dict[str, Any]:
        """Return what the registry of `image` tells the manager about it."""
        path = f"/distribution/{image}/json"
        found: dict[str, Any] = self._parsed(self._call("GET", path, image=image), path)
        return found

    def text(self, path: str, **params: str) -> bytes:
        """GET a stream as bytes."""
        return self._call("GET", path, params).body

    def create(self, kind: str, spec: Mapping[str, Any]) -> str:
        """Create an object of `kind` (services, configs, secrets); return its id."""
        path = f"/{kind}/create"
        image = spec["TaskTemplate"]["ContainerSpec"].get("Image", "") if kind == "services" else ""
        return str(self._parsed(self._call("POST", path, body=spec, image=image), path, {"ID": str})["ID"])

    def update(self, kind: str, known: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        """Replace the spec of the object `known`, unless it has changed after it was read.

        A service keeps the login that its nodes pull with.
        """
        self._call("POST", f"/{kind}/{known['ID']}/update", {"version": str(known["Version"]["Index"])}, spec)

    def remove(self, kind: str, id_: str) -> None:
        """Remove an object, if it still exists."""
        try:
            self._call("DELETE", f"/{kind}/{id_}")
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise

    def warnings(self) -> Iterator[str]:
        """Yield what is wrong with the way to the manager, and with the clocks at its ends as the last answer shows."""
        yield from self.address.warnings()
        if abs(self._ahead) > _SKEW:
            yield (
                f"msr-cache:swarm.{self.address.key}: this machine's clock is {abs(self._ahead):.0f} s "
                f"{'ahead of' if self._ahead > 0 else 'behind'} the manager's. New certificates may count as not valid "
                "yet, and valid ones as expired: set both clocks"
            )

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        image: str = "",
    ) -> Answer:
        """Send a request, with the login for the registry of `image`."""
        login: dict[str, str] = {}
        if image and self.address.registries:
            from msr_cache.config import image_registries  # its package imports pydantic, which is slow

            login = image_registries.header(self.address.registries, image)
        try:
            url = f"/v{API_VERSION}{quote(path, safe='/:@')}" + (f"?{urlencode(query)}" if query else "")
            with slowly(f"the swarm manager at {self.address} ({method} {path})"):
                answer = self._connection.ask(method, url, body, login)
        except (OSError, ValueError, HTTPException) as error:
            raise self._unreachable(reason(error)) from None
        self._ahead = answer.ahead
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            if b"HTTP request to an HTTPS server" in answer.body:  # Go's error text
                raise self._unreachable("it requires TLS: use `clientBundle` or `context`")
            raise EngineError(str(self.address), answer.status, _message(answer))
        return answer

    def _parsed(self, answer: Answer, path: str, shape: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON of an answer: without `shape` an object of the kind that `path` names, or a list of them."""
        _, kind, *rest = path.split("/")
        wanted = shape or SHAPES[kind]
        try:
            found = parsed(answer.body)
        except ValueError:
            raise self._odd_answer(path) from None
        odd = next(odd_fields(found, wanted if rest else [wanted]), None)
        if odd is not None:  # empty: the answer itself
            raise self._odd_answer(path, f" ({odd} is missing or of another type)" if odd else "")
        return found

    def _unreachable(self, why: str) -> Refusal:
        address = self.address
        command = {
            "clientBundle": f"cd {address.cert_path} && . ./env.sh && docker node ls",
            "context": f"docker --context {address.context} node ls",
        }.get(address.key, f"docker -H {address} node ls")
        return Refusal(
            f"msr-cache:swarm.{address.key}: found {address}, expected a manager that answers ({why}). "
            f"Check it with: {command}"
        )

    def _odd_answer(self, path: str, why: str = "") -> Refusal:
        return Refusal(
            f"msr-cache:swarm.{self.address.key}: found an answer to {path} that is not the Docker Engine API's{why}, "
            f"expected a swarm manager at {self.address}"
        )


def _message(answer: Answer) -> str:
    try:
        return str(parsed(answer.body)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.body.decode(errors="replace").strip() or answer.reason


def address_from_json(text: str | None, registries: str | None = None) -> Address:
    """Return the address from the JSON that the engine passes to providers: `swarm`, and `imageRegistries`."""
    # Checked here too: refresh and destroy do not run the program.
    try:
        swarm = json.loads(text or "null")
    except ValueError:
        swarm = None
    if not isinstance(swarm, dict) or not swarm.keys() & {"host", "context", "clientBundle"}:
        found = "something else" if text else "nothing"  # not what, which may hold a password
        raise Refusal(f"msr-cache:swarm: found {found}, expected a map with one of host, context and clientBundle")
    return Address.from_config(swarm, json.loads(registries or "{}"))
