"""A stand-in for pulumi-docker's plugin: Service over the docker SDK, odd where the real one is odd.

What the daemon fills in is an output, and differs from an input that is not stated, unless the field is one of those
that the real plugin computes: a program that never settles with the real plugin doesn't settle with this one either.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from lab.pulumi.plugins.provider import Diff, InitError, Provider, StepError, refuse_unknown
from lab.pulumi.plugins.server import serve
from lab.pulumi.plugins.values import Props, differences
from lab.pulumi.protocol import UNKNOWN

if TYPE_CHECKING:
    from docker import APIClient

_NANO = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PATIENCE = 30.0
"""Seconds for a new service to say how it is reached."""
_LAB_DAEMON = re.compile(r"unix:///run/msr-cache-lab[^/]*/(?!.*\.\./).+")
_ZEROS = {"text": "", "number": 0, "flag": False, "texts": [], "map": {}, "list": [], "set": []}


@dataclass(frozen=True)
class Field:
    """One input: its name in the Engine API, its kind, its default; `computed`: where unset, what is there stays."""

    api: str
    kind: str
    default: Any = None
    computed: bool = False
    fields: dict[str, Field] = field(default_factory=dict)


def _table(text: str) -> dict[str, Field]:
    """Read lines of name, name in the Engine API, kind, and `=default` or `computed`; what is indented is inside."""
    root: dict[str, Field] = {}
    open_ = [(-1, root)]
    for line in text.strip("\n").splitlines():
        name, api, kind, *words = line.split()
        depth = len(line) - len(line.lstrip())
        while open_[-1][0] >= depth:
            open_.pop()
        default = next((json.loads(word[1:]) for word in words if word.startswith("=")), None)
        inside: dict[str, Field] = {}
        open_[-1][1][name] = Field(api, kind, default, "computed" in words, inside)
        open_.append((depth, inside))
    return root


_SERVICE = _table("""
name                Name             text
labels              Labels           labels    computed
  label             label            text
  value             value            text
mode                Mode             block     computed
  replicated        Replicated       block     computed
    replicas        Replicas         number    =1
taskSpec            TaskTemplate     block
  containerSpec     ContainerSpec    block
    image           Image            text
    commands        Command          texts
    env             Env              env
    sysctl          Sysctls          map
    isolation       Isolation        text      ="default"
    stopGracePeriod StopGracePeriod  duration  computed
    healthcheck     Healthcheck      block     computed
      tests         Test             texts
      interval      Interval         duration  ="0s"
      timeout       Timeout          duration  ="0s"
      startPeriod   StartPeriod      duration  ="0s"
      retries       Retries          number
    mounts          Mounts           set
      target        Target           text
      source        Source           text
      type          Type             text
      readOnly      ReadOnly         flag
      bindOptions   BindOptions      block
        propagation Propagation      text      ="rprivate"
      volumeOptions VolumeOptions    block
        noCopy      NoCopy           flag
        driverName  DriverConfig.Name text
        driverOptions DriverConfig.Options map
    configs         Configs          set
      configId      ConfigID         text
      configName    ConfigName       text
      fileName      File.Name        text
      fileUid       File.UID         text      ="0"
      fileGid       File.GID         text      ="0"
      fileMode      File.Mode        number    =292
    secrets         Secrets          set
      secretId      SecretID         text
      secretName    SecretName       text
      fileName      File.Name        text
      fileUid       File.UID         text      ="0"
      fileGid       File.GID         text      ="0"
      fileMode      File.Mode        number    =292
  networksAdvanceds Networks         list
    id              Target           text
    aliases         Aliases          texts
  placement         Placement        block     computed
    constraints     Constraints      set
    platforms       Platforms        set
      architecture  Architecture     text
      os            OS               text
    maxReplicas     MaxReplicas      number
  restartPolicy     RestartPolicy    block     computed
    condition       Condition        text
    delay           Delay            duration
    maxAttempts     MaxAttempts      number
    window          Window           duration
  resources         Resources        block     computed
    limits          Limits           block
      nanoCpus      NanoCPUs         number
      memoryBytes   MemoryBytes      number
    reservation     Reservations     block
      nanoCpus      NanoCPUs         number
      memoryBytes   MemoryBytes      number
  forceUpdate       ForceUpdate      number    computed
  runtime           Runtime          text      computed
endpointSpec        EndpointSpec     block     computed
  mode              Mode             text      computed
  ports             Ports            list
    protocol        Protocol         text      ="tcp"
    targetPort      TargetPort       number
    publishedPort   PublishedPort    number    computed
    publishMode     PublishMode      text      ="ingress"
updateConfig        UpdateConfig     block
  parallelism       Parallelism      number    =1
  delay             Delay            duration  ="0s"
  failureAction     FailureAction    text      ="pause"
  monitor           Monitor          duration  ="5s"
  maxFailureRatio   MaxFailureRatio  ratio     ="0.0"
  order             Order            text      ="stop-first"
""")
_SERVICE["rollbackConfig"] = replace(_SERVICE["updateConfig"], api="RollbackConfig")


def _planned(fields: dict[str, Field], outs: Props, news: Props) -> Props:
    """Return the inputs with defaults, and what is there already where a computed field is unset."""
    planned = {}
    for name, about in fields.items():
        old, new = outs.get(name), news.get(name)
        if new is None:
            planned[name] = old if about.computed and old is not None else about.default
        elif new == UNKNOWN or not about.fields:
            planned[name] = new
        elif about.kind == "block":
            planned[name] = _planned(about.fields, old or {}, new)
        else:
            olds = [*(old or [] if about.kind == "list" else []), *({} for _ in new)]
            planned[name] = [_planned(about.fields, olds[index], item) for index, item in enumerate(new)]
    return planned


def _spec(fields: dict[str, Field], values: Props) -> Props:
    """Return inputs as the Engine API has them; what is None is left to the engine."""
    spec: Props = {}
    for name, about in fields.items():
        if (value := values.get(name)) is not None:
            *path, last = about.api.split(".")
            at = spec
            for part in path:
                at = at.setdefault(part, {})
            at[last] = value if value == UNKNOWN else _to_api(about, value)
    return spec


def _to_api(about: Field, value: Any) -> Any:  # noqa: ANN401, PLR0911 - a table, in short
    match about.kind:
        case "duration":
            parts = re.findall(r"([\d.]+)(ms|us|ns|h|m|s)", value)
            return sum(int(float(number) * _NANO[unit]) for number, unit in parts)
        case "ratio":
            return float(value)
        case "env":
            return [f"{key}={item}" for key, item in sorted(value.items())]
        case "labels":
            return {item["label"]: item["value"] for item in value}
        case "block":
            return _spec(about.fields, value)
        case "list":
            return [_spec(about.fields, item) for item in value]
        case "set":
            # Files by their names, as the real plugin has them.
            items = (_spec(about.fields, item) if about.fields else item for item in value)
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value


def _outputs(fields: dict[str, Field], spec: Props) -> Props:
    """Return what the Engine API says as the inputs have it."""
    outs: Props = {}
    for name, about in fields.items():
        value: Any = spec
        for part in about.api.split("."):
            value = (value or {}).get(part)
        outs[name] = _from_api(about, value)
    return outs


def _from_api(about: Field, value: Any) -> Any:  # noqa: ANN401, PLR0911 - a table, in short
    match about.kind:
        case "duration":
            return f"{(value or 0) / _NANO['s']:g}s"
        case "ratio":
            return f"{value or 0:.1f}"
        case "env":
            return dict(item.partition("=")[::2] for item in value or [])
        case "labels":
            return [{"label": key, "value": item} for key, item in sorted((value or {}).items())]
        case "block":
            return None if value is None else _outputs(about.fields, value)
        case "list" | "set" if about.fields:
            return [_outputs(about.fields, item) for item in value or []]
    return _ZEROS[about.kind] if value is None else value


class Service(Provider):
    """docker:index/service:Service."""

    type = "docker:index/service:Service"

    def __init__(self, host: str, logins: Props | None = None) -> None:
        self._host = host
        self._logins = logins or {}

    def check(self, name: str, news: Props) -> Props:
        _refuse_unknown_inputs(f"{self.type} {name}", _SERVICE, news)
        return news

    def diff(self, outs: Props, news: Props) -> Diff:
        now, then = (_spec(_SERVICE, values) for values in (outs, _planned(_SERVICE, outs, news)))
        replaces = ["name"] if now["Name"] != then["Name"] else []
        if now["TaskTemplate"].get("Networks", []) != then["TaskTemplate"].get("Networks", []):
            replaces.append("taskSpec.networksAdvanceds")
        found = differences(_outputs(_SERVICE, now), _outputs(_SERVICE, then))
        # The bridge: a name given by the program can't be had twice, so what has it goes first.
        return Diff(bool(found), replaces, delete_before_replace=True, differences=found)

    def planned(self, outs: Props, news: Props) -> Props:
        """Return what the bridge knows of a planned state: unset fields that the daemon fills in are not known."""
        return {key: value for key, value in _planned(_SERVICE, outs, news).items() if value is not None}

    def create(self, news: Props) -> tuple[str, Props]:
        spec = _spec(_SERVICE, _planned(_SERVICE, {}, news))
        with self._client() as client:
            self._log_in(client, spec)
            _resolve(client, spec["TaskTemplate"])
            id_ = client.create_service(**_arguments(spec))["ID"]
            return id_, self._outputs(client, id_)

    def read(self, id_: str, outs: Props) -> Props | None:
        with self._client() as client:
            # By name, too: the real plugin takes a service of that name for its own.
            found = [
                item for item in client.services() if item["ID"] == id_ or item["Spec"]["Name"] == outs.get("name")
            ]
            return self._outputs(client, found[0]["ID"]) if found else None

    def update(self, id_: str, outs: Props, news: Props) -> Props:
        planned = _planned(_SERVICE, outs, news)
        try:
            with self._client() as client:
                version = client.inspect_service(id_)["Version"]["Index"]
                self._log_in(client, spec := _spec(_SERVICE, planned))
                client.update_service(id_, version, **_arguments(spec))
                return self._outputs(client, id_)
        except StepError as error:
            raise InitError(str(error), outs | planned) from None

    def delete(self, id_: str) -> None:
        with self._client() as client:
            client.remove_service(id_)

    def _log_in(self, client: APIClient, spec: Props) -> None:
        """Let the client send the login whose address stands before the image's first slash, and none of its own."""
        from docker.auth import AuthConfig, resolve_repository_name

        image = spec["TaskTemplate"]["ContainerSpec"]["Image"]
        start, slash, _ = image.partition("/")
        login = self._logins.get(start) if slash else None
        # If there is nothing in it, the client reads the logins of whoever runs this.
        kept = {"auths": {resolve_repository_name(image)[0] if login else "": login or {}}}
        client._auth_configs = AuthConfig(kept)  # noqa: SLF001 - it has no other way

    def _outputs(self, client: APIClient, id_: str) -> Props:
        deadline = time.monotonic() + _PATIENCE
        while not (service := client.inspect_service(id_)).get("Endpoint", {}).get("Spec", {}).get("Mode"):
            if service["Spec"].get("EndpointSpec", {}).get("Mode") or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        outs = _outputs(_SERVICE, service["Spec"])
        endpoint = service.get("Endpoint") or {}
        if endpoint.get("Spec", {}).get("Mode"):
            now = {"Mode": endpoint["Spec"]["Mode"], "Ports": endpoint.get("Ports")}
            outs["endpointSpec"] = _outputs(_SERVICE["endpointSpec"].fields, now)
        return outs | {"id": id_}

    @contextmanager
    def _client(self) -> Iterator[APIClient]:
        # A preview needs no client, whose loading would be most of what it costs.
        from docker import APIClient
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        try:
            with closing(APIClient(base_url=self._host)) as client:
                yield client
        except APIError as error:
            raise StepError(f"Error response from daemon: {error.explanation}") from None
        except (DockerException, RequestException):
            raise StepError(f"Cannot connect to the Docker daemon at {self._host}") from None


def _refuse_unknown_inputs(where: str, fields: dict[str, Field], news: Props) -> None:
    refuse_unknown(where, news, fields)
    for name, value in news.items():
        for inside in value if isinstance(value, list) else [value]:
            if fields[name].fields and isinstance(inside, dict):
                _refuse_unknown_inputs(f"{where}.{name}", fields[name].fields, inside)


def _arguments(spec: Props) -> Props:
    names = {"TaskTemplate": "task_template", "EndpointSpec": "endpoint_spec"}
    return {names.get(key, re.sub(r"(?<!^)([A-Z])", r"_\1", key).lower()): value for key, value in spec.items()}


def _resolve(client: APIClient, task: Props) -> None:
    """Pin the image, and take its platforms, as docker's own client does at a create, and only then."""
    from docker.errors import APIError

    image = task["ContainerSpec"]["Image"]
    try:
        found = client.inspect_distribution(image)
    except APIError:
        return
    task["ContainerSpec"]["Image"] = image if "@" in image else f"{image}@{found['Descriptor']['digest']}"
    if platforms := found.get("Platforms"):
        task["Placement"]["Platforms"] = [
            {"Architecture": "" if item["architecture"] == "arm" else item["architecture"], "OS": item["os"]}
            for item in platforms
        ]


def _connect(name: str, news: Props) -> Props:
    """Refuse options that are not known, and every swarm but a lab's."""
    where = f"docker provider {name}"
    empty = {key for key in ("context", "caMaterial", "certMaterial", "keyMaterial") if news.get(key) == ""}
    refuse_unknown(where, news, {"host", "certPath", "registryAuth", "version", *empty})
    for login in _logins(news):
        refuse_unknown(f"{where}.registryAuth", login, {"address", "username", "password"})
        if missing := {"address", "username", "password"} - login.keys():
            raise StepError(f"{where}.registryAuth: found no {' and no '.join(sorted(missing))}")
    host = str(news.get("host") or "no host")
    if not _LAB_DAEMON.fullmatch(_socket(host, news.get("certPath"))):
        raise StepError(
            f"{where}: found {host}, expected a lab's docker host (unix:///run/msr-cache-lab...): "
            "this is the lab's stand-in for pulumi-docker's plugin; any other swarm needs the real one, "
            "which `pulumi plugin install resource docker` installs"
        )
    return news


def _logins(config: Props) -> list[Props]:
    given = config.get("registryAuth") or "[]"
    found: list[Props] = json.loads(given["value"] if isinstance(given, dict) else given)  # a map is a secret
    return found


@cache
def _socket(host: str, cert_path: str | None) -> str:
    """Return the socket of the daemon at `host`, which docker's own client reaches as the real plugin does."""
    if host.startswith("unix:"):
        return host
    tls = [f"--tls{key}={cert_path}/{file}.pem" for key, file in (("cacert", "ca"), ("cert", "cert"), ("key", "key"))]
    command = ["docker", f"--host={host}", *(["--tlsverify", *tls] if cert_path else []), "info", "--format=json"]
    found = subprocess.run(command, capture_output=True, check=False, timeout=_PATIENCE).stdout
    data = str(json.loads(found or "{}").get("DockerRootDir"))
    return f"unix://{data.replace('/var/lib/', '/run/')}/docker.sock"


def _find(type_: str, config: Props) -> Provider | None:
    logins = {login["address"]: login for login in _logins(config)}
    return Service(_socket(config["host"], config.get("certPath")), logins) if type_ == Service.type else None


if __name__ == "__main__":
    serve("pulumi-docker", "5.2.0", _connect, _find)
