"""A stand-in for pulumi-docker's plugin: Service over the daemon's socket, odd where the real one is odd.

What the daemon fills in is an output, and differs from an input that is not stated, unless the field is one of those
that the real plugin computes: a program that never settles with the real plugin doesn't settle with this one either.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

from lab.pulumi.plugins.provider import Diff, InitError, Provider, StepError, refuse_unknown
from lab.pulumi.plugins.server import serve
from lab.pulumi.plugins.values import Props, differences
from lab.pulumi.protocol import UNKNOWN

_NANO = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PATIENCE = 60.0
"""Seconds for the daemon to answer."""
_LAB_DAEMON = re.compile(r"unix:///run/msr-cache-lab[^/]*/(?!.*\.\./).+")
_ZEROS = {"text": "", "number": 0, "flag": False, "map": {}, "list": [], "set": [], "block": None}


def _nanoseconds(duration: str) -> int:
    parts = re.findall(r"([\d.]+)(ms|us|ns|h|m|s)", duration)
    return sum(int(float(number) * _NANO[unit]) for number, unit in parts)


_CODECS: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "duration": (_nanoseconds, lambda nanoseconds: f"{(nanoseconds or 0) / _NANO['s']:g}s"),
    "ratio": (float, lambda ratio: f"{ratio or 0:.1f}"),
    "env": (
        lambda inputs: [f"{key}={value}" for key, value in sorted(inputs.items())],
        lambda found: dict(line.partition("=")[::2] for line in found or []),
    ),
    "labels": (
        lambda inputs: {each["label"]: each["value"] for each in inputs},
        lambda found: [{"label": key, "value": value} for key, value in sorted((found or {}).items())],
    ),
}
"""For each kind that the Engine API has in another form: how an input is put there, and an output taken from there."""


@dataclass(frozen=True)
class Field:
    """One input: its name in the Engine API, its kind, its default; `computed`: where unset, what is there stays."""

    api: str
    kind: str
    default: Any = None
    computed: bool = False
    fields: dict[str, Field] = field(default_factory=dict)

    def refuse_unknown(self, where: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Raise StepError that names each input in `value` which is in no line of the table."""
        for each in value if isinstance(value, list) else [value]:
            if self.fields and isinstance(each, dict):
                refuse_unknown(where, each, self.fields)
                for name, inside in each.items():
                    self.fields[name].refuse_unknown(f"{where}.{name}", inside)

    def planned(self, old: Any, new: Any) -> Any:  # noqa: ANN401 - JSON
        """Return an input with its defaults, and what is there already where a computed field is unset."""
        if new is None:
            return old if self.computed and old is not None else self.default
        if new == UNKNOWN or not self.fields:
            return new
        if self.kind == "block":
            return {name: each.planned((old or {}).get(name), new.get(name)) for name, each in self.fields.items()}
        olds = [*(old or [] if self.kind == "list" else []), *({} for _ in new)]
        return [replace(self, kind="block").planned(*pair) for pair in zip(olds, new, strict=False)]

    def to_api(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return an input as the Engine API has it; what is None is left to the engine."""
        if value == UNKNOWN:
            return value
        if self.kind in _CODECS:
            return _CODECS[self.kind][0](value)
        if self.kind == "block":
            spec: Props = {}
            for name, each in self.fields.items():
                if value.get(name) is not None:
                    outer, _, inner = each.api.rpartition(".")
                    (spec.setdefault(outer, {}) if outer else spec)[inner] = each.to_api(value[name])
            return spec
        items = [replace(self, kind="block").to_api(item) for item in value] if self.fields else value
        # Files by their names, as the real plugin has them.
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if self.kind == "set" else items

    def from_api(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return what the Engine API says as the inputs have it."""
        if self.kind in _CODECS:
            return _CODECS[self.kind][1](value)
        if self.kind != "block" and self.fields:
            return [replace(self, kind="block").from_api(item) for item in value or []]
        if value is None or not self.fields:
            return _ZEROS[self.kind] if value is None else value
        outs = {}
        for name, each in self.fields.items():
            outer, _, inner = each.api.rpartition(".")
            outs[name] = each.from_api(((value.get(outer) if outer else value) or {}).get(inner))
        return outs


def _table(text: str) -> Field:
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
    return Field("", "block", fields=root)


_SERVICE = _table("""
name                Name             text
labels              Labels           labels    computed
mode                Mode             block     computed
  replicated        Replicated       block     computed
    replicas        Replicas         number    =1
taskSpec            TaskTemplate     block
  containerSpec     ContainerSpec    block
    image           Image            text
    commands        Command          list
    env             Env              env
    sysctl          Sysctls          map
    isolation       Isolation        text      ="default"
    stopGracePeriod StopGracePeriod  duration  computed
    healthcheck     Healthcheck      block     computed
      tests         Test             list
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
    aliases         Aliases          list
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
_SERVICE.fields["rollbackConfig"] = replace(_SERVICE.fields["updateConfig"], api="RollbackConfig")


@dataclass
class Service(Provider):
    """On the daemon at `host`, with `logins` by their addresses."""

    host: str
    logins: Props = field(default_factory=dict)
    type = "docker:index/service:Service"

    def check(self, name: str, news: Props) -> Props:
        _SERVICE.refuse_unknown(f"{self.type} {name}", news)
        return news

    def diff(self, outs: Props, news: Props) -> Diff:
        now, then = (_SERVICE.to_api(values) for values in (outs, _SERVICE.planned(outs, news)))
        replaces = ["name"] if now["Name"] != then["Name"] else []
        if now["TaskTemplate"].get("Networks", []) != then["TaskTemplate"].get("Networks", []):
            replaces.append("taskSpec.networksAdvanceds")
        found = differences(_SERVICE.from_api(now), _SERVICE.from_api(then))
        # The bridge: a name given by the program can't be had twice, so what has it goes first.
        return Diff(bool(found), replaces, delete_before_replace=True, differences=found)

    def planned(self, outs: Props, news: Props) -> Props:
        """Return what the bridge knows of a planned state: unset fields that the daemon fills in are not known."""
        return {key: value for key, value in _SERVICE.planned(outs, news).items() if value is not None}

    def create(self, news: Props) -> tuple[str, Props]:
        spec = _SERVICE.to_api(_SERVICE.planned({}, news))
        self._resolve(spec["TaskTemplate"])
        id_ = self._send("/services/create", spec)["ID"]
        return id_, self._state(id_)

    def read(self, id_: str, outs: Props) -> Props | None:
        # By name, too: the real plugin takes a service of that name for its own.
        services = self._ask("GET", "/services")
        found = [item["ID"] for item in services if item["ID"] == id_ or item["Spec"]["Name"] == outs.get("name")]
        return self._state(found[0]) if found else None

    def update(self, id_: str, outs: Props, news: Props) -> Props:
        planned = _SERVICE.planned(outs, news)
        try:
            version = self._ask("GET", f"/services/{id_}")["Version"]["Index"]
            self._send(f"/services/{id_}/update?version={version}", _SERVICE.to_api(planned))
            return self._state(id_)
        except StepError as error:
            raise InitError(str(error), outs | planned) from None

    def delete(self, id_: str) -> None:
        self._ask("DELETE", f"/services/{id_}")

    def _send(self, path: str, spec: Props) -> Any:  # noqa: ANN401 - JSON
        return self._ask("POST", path, spec, self._login(spec["TaskTemplate"]["ContainerSpec"]["Image"]))

    def _state(self, id_: str) -> Props:
        return {**_SERVICE.from_api(self._ask("GET", f"/services/{id_}")["Spec"]), "id": id_}

    def _resolve(self, task: Props) -> None:
        """Pin the image, and take its platforms, as docker's own client does at a create, and only then."""
        image = task["ContainerSpec"]["Image"]
        try:
            found = self._ask("GET", f"/distribution/{image}/json", None, self._login(image))
        except StepError:
            return
        task["ContainerSpec"]["Image"] = image if "@" in image else f"{image}@{found['Descriptor']['digest']}"
        if platforms := found.get("Platforms"):
            task["Placement"]["Platforms"] = [
                {"Architecture": "" if item["architecture"] == "arm" else item["architecture"], "OS": item["os"]}
                for item in platforms
            ]

    def _login(self, image: str) -> Props | None:
        """Return the login whose address stands before the image's first slash."""
        start, slash, _ = image.partition("/")
        return self.logins.get(start) if slash else None

    def _ask(self, method: str, path: str, spec: Props | None = None, login: Props | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return what the daemon answers; StepError in its words, or as docker's own client says that there is none.

        By no SDK, whose loading would be most of what a run costs.
        """
        auth = {"X-Registry-Auth": urlsafe_b64encode(json.dumps(login).encode()).decode()} if login else {}
        headers = {"Content-Type": "application/json"} | auth
        connection = HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_PATIENCE)
        try:
            with closing(connection):
                connection.sock.connect(self.host.removeprefix("unix://"))
                connection.request(method, path, json.dumps(spec) if spec else None, headers)
                answer = connection.getresponse()
                found = json.loads(answer.read() or "null")
        except (OSError, HTTPException):
            raise StepError(f"Cannot connect to the Docker daemon at {self.host}") from None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise StepError(f"Error response from daemon: {found['message']}")
        return found


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
