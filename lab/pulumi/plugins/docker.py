"""A stand-in for pulumi-docker's plugin: Service over the docker SDK, odd where the real one is odd.

What the daemon fills in is an output, and differs from an input that is not stated, unless the field is one of those
that the real provider computes: that is how a program that never settles on the real engine doesn't settle here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from lab.pulumi.plugins.provider import Diff, InitError, Provider, StepError, refuse_unknown
from lab.pulumi.plugins.server import serve
from lab.pulumi.plugins.values import UNKNOWN, Props

Fields = Mapping[str, "Field"]
_NANO = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PATIENCE = 30.0
"""Seconds for a new service to say how it is reached."""


@dataclass(frozen=True)
class Field:
    """One input: its name in the Engine API, its kind, its default; `computed`: where unset, what is there stays."""

    api: str
    kind: str = "text"
    default: Any = None
    computed: bool = False
    replaces: bool = False
    fields: Fields = field(default_factory=dict)

    @property
    def zero(self) -> Any:  # noqa: ANN401 - JSON
        return _ZEROS.get(self.kind)


_ZEROS = {"text": "", "number": 0, "duration": "0s", "flag": False, "texts": [], "textset": [], "map": {}, "env": {}}
_LAB_DAEMON = re.compile(r"unix:///run/msr-cache-lab[^/]*/(?!.*\.\./).+")
_BLOCKS = ("block", "list", "set")


def _table(text: str) -> Fields:
    """Read lines of name, name in the Engine API, kind, and `=default`, `computed` or `replaces`; indented: inside."""
    root: dict[str, Field] = {}
    open_ = [(-1, root)]
    for line in text.strip("\n").splitlines():
        name, api, kind, *words = line.split()
        depth = len(line) - len(line.lstrip())
        while open_[-1][0] >= depth:
            open_.pop()
        default = next((json.loads(word[1:]) for word in words if word.startswith("=")), None)
        inside: dict[str, Field] = {}
        open_[-1][1][name] = Field(api, kind, default, "computed" in words, "replaces" in words, inside)
        open_.append((depth, inside))
    return root


_SERVICE = _table("""
name                Name             text      replaces
labels              Labels           labels    computed
  label             label            text
  value             value            text
mode                Mode             block     computed
  replicated        Replicated       block     computed
    replicas        Replicas         number    =1
  global            Global           presence  =false
taskSpec            TaskTemplate     block
  containerSpec     ContainerSpec    block
    image           Image            text
    commands        Command          texts
    args            Args             texts
    hostname        Hostname         text
    user            User             text
    dir             Dir              text
    env             Env              env
    sysctl          Sysctls          map       replaces
    isolation       Isolation        text      ="default"
    stopGracePeriod StopGracePeriod  duration  computed
    init            Init             flag      computed
    healthcheck     Healthcheck      block     computed
      tests         Test             texts
      interval      Interval         duration  ="0s"
      timeout       Timeout          duration  ="0s"
      startPeriod   StartPeriod      duration  ="0s"
      retries       Retries          number
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
  placement         Placement        block     computed
    constraints     Constraints      textset
    maxReplicas     MaxReplicas      number
    platforms       Platforms        set
      architecture  Architecture     text
      os            OS               text
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
    name            Name             text
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
rollbackConfig      RollbackConfig   block
  parallelism       Parallelism      number    =1
  delay             Delay            duration  ="0s"
  failureAction     FailureAction    text      ="pause"
  monitor           Monitor          duration  ="5s"
  maxFailureRatio   MaxFailureRatio  ratio     ="0.0"
  order             Order            text      ="stop-first"
""")

# Inputs and outputs as the Engine API has them, and back.


def _planned(fields: Fields, outs: Props, news: Props) -> Props:
    """Return the inputs with defaults, and what is there already where a computed field is unset."""
    planned = {}
    for name, about in fields.items():
        old, new = outs.get(name), news.get(name)
        if new is None:
            planned[name] = old if about.computed and old is not None else about.default
        elif new == UNKNOWN or about.kind not in _BLOCKS:
            planned[name] = new
        elif about.kind == "block":
            planned[name] = _planned(about.fields, old or {}, new)
        else:
            olds = [*(old or [] if about.kind == "list" else []), *({} for _ in new)]
            planned[name] = [_planned(about.fields, olds[index], item) for index, item in enumerate(new)]
    return planned


def _spec(fields: Fields, values: Props) -> Props:
    spec: Props = {}
    for name, about in fields.items():
        value = values.get(name)
        if value is None and (about.kind in ("text", "presence", "ratio", "labels", *_BLOCKS) or not about.api):
            continue
        *path, last = about.api.split(".")
        at = spec
        for part in path:
            at = at.setdefault(part, {})
        if about.kind == "presence":
            at |= {last: {}} if value else {}
        else:
            at[last] = _to_api(about, about.zero if value is None else value)
    return spec


def _to_api(about: Field, value: Any) -> Any:  # noqa: ANN401, PLR0911 - a table, in short
    match about.kind:
        case "duration":
            return sum(
                int(float(number) * _NANO[unit]) for number, unit in re.findall(r"([\d.]+)(ms|us|ns|h|m|s)", value)
            )
        case "ratio":
            return float(value)
        case "env":
            return [f"{key}={item}" for key, item in value.items()]
        case "labels":
            return {item["label"]: item["value"] for item in value}
        case "block":
            return _spec(about.fields, value)
        case "list" | "set":
            return [_spec(about.fields, item) for item in value]
    return value


def _outputs(fields: Fields, spec: Props) -> Props:
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
            return _duration(value or 0)
        case "ratio":
            return f"{value or 0:.1f}"
        case "env":
            return dict(item.partition("=")[::2] for item in value or [])
        case "labels":
            return [{"label": key, "value": item} for key, item in sorted((value or {}).items())]
        case "block":
            return None if value is None else _outputs(about.fields, value)
        case "list":
            return [_outputs(about.fields, item) for item in value or []]
        case "set":
            return sorted((_outputs(about.fields, item) for item in value or []), key=str)
        case "presence":
            return value is not None
    return about.zero if value is None else value


def _duration(nano: int) -> str:
    """Write a duration as Go does, but `1h` for `1h0m0s`."""
    if nano < _NANO["s"]:
        return f"{nano / _NANO['ms']:g}ms" if nano else "0s"
    hours, rest = divmod(nano, _NANO["h"])
    minutes, rest = divmod(rest, _NANO["m"])
    parts = [(hours, "h"), (minutes, "m"), (rest / _NANO["s"], "s")]
    return "".join(f"{number:g}{unit}" for number, unit in parts if number)


# What differs.


@dataclass
class _Change:
    path: str
    kind: str
    replaces: bool = False
    real: bool = True
    """Whether it alone is reason enough for an update: an empty map where none was is not."""


def _compare(fields: Fields, outs: Props, news: Props, at: str = "") -> Iterator[_Change]:
    for name, about in fields.items():
        old, new, path = outs.get(name), news.get(name), f"{at}{name}"
        if new is None:
            if not about.computed and old not in (None, [], {}, "", 0) and old != about.default:
                yield _Change(path, "delete" if about.default is None else "update", about.replaces)
            continue
        for change in _differences(about, old, new, path):
            change.replaces |= about.replaces
            yield change


def _differences(about: Field, old: Any, new: Any, path: str) -> Iterator[_Change]:  # noqa: ANN401 - JSON
    if new == UNKNOWN or about.kind == "presence":
        if old != new:
            yield _Change(path, "update")
    elif about.kind == "block":
        yield from _compare(about.fields, old, new, f"{path}.") if old else [_Change(path, "add")]
    elif about.kind in ("set", "labels", "textset"):
        yield from _set_differences(about, old or [], new, path)
    elif about.kind in ("list", "texts"):
        yield from _list_differences(about, old, new, path)
    elif about.kind in ("map", "env"):
        yield from _map_differences(old, new, path)
    elif _to_api(about, old) != _to_api(about, new) if old is not None else new != about.zero:
        yield _Change(path, "update")


def _list_differences(about: Field, old: Any, new: Any, path: str) -> Iterator[_Change]:  # noqa: ANN401 - JSON
    if not old and new:
        yield _Change(path, "add")
        return
    for index, (before, after) in enumerate(zip_longest(old or [], new)):
        item = f"{path}[{index}]"
        if before is None or after is None:
            yield _Change(item, "add" if before is None else "delete")
        elif about.fields:
            yield from _compare(about.fields, before, after, f"{item}.")
        elif before != after:
            yield _Change(item, "update")


def _set_differences(about: Field, old: Any, new: Any, path: str) -> Iterator[_Change]:  # noqa: ANN401 - JSON
    complete = [_planned(about.fields, {}, item) if about.fields else item for item in new]
    gone = [item for item in old if item not in complete]
    come = [(index, item) for index, item in enumerate(complete) if item not in old]
    if about.fields and len(gone) == len(come) and about.kind == "set":
        for before, (index, after) in zip(gone, come, strict=True):
            yield from _compare(about.fields, before, after, f"{path}[{index}].")
        return
    yield from (_Change(f"{path}[{old.index(item)}]", "delete") for item in gone)
    yield from (_Change(f"{path}[{index}]", "add") for index, _ in come)


def _map_differences(old: Any, new: Any, path: str) -> Iterator[_Change]:  # noqa: ANN401 - JSON
    if old is None:
        yield _Change(path, "add", real=bool(new))
        return
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            kind = "add" if key not in old else "delete" if key not in new else "update"
            yield _Change(f'{path}["{key}"]' if "." in key else f"{path}.{key}", kind)


def _diff(fields: Fields, outs: Props, news: Props) -> Diff:
    changes = list(_compare(fields, outs, news))
    if not any(change.real for change in changes):
        return Diff()
    replaced = {change.path for change in changes if change.replaces and change.real}
    detail = {change.path: f"{change.kind}-replace" if change.path in replaced else change.kind for change in changes}
    # The bridge: a name given by the program can't be had twice, so what has it goes first.
    return Diff(
        detail, sorted({re.split(r"[.\[]", path)[0] for path in replaced}), delete_before_replace="name" in news
    )


# The resource.


class Service(Provider):
    """docker:index/service:Service."""

    type = "docker:index/service:Service"

    def __init__(self, host: str) -> None:
        self._host = host

    def check(self, name: str, news: Props) -> Props:
        return _with_defaults(f"{self.type} {name}", _SERVICE, news)

    def diff(self, outs: Props, news: Props) -> Diff:
        return _diff(_SERVICE, outs, news)

    def planned(self, outs: Props, news: Props) -> Props:
        """Return what the bridge knows of a planned state: unset fields that the daemon fills in are not known."""
        return {key: value for key, value in _planned(_SERVICE, outs, news).items() if value is not None}

    def create(self, news: Props) -> tuple[str, Props]:
        spec = _full_spec(_planned(_SERVICE, {}, news))
        with self._client() as client:
            _resolve(client, spec["TaskTemplate"])
            id_ = client.create_service(**_arguments(spec))["ID"]
            outs = self._outputs(client, id_)
        container = outs["taskSpec"]["containerSpec"]
        for name in ("env", "sysctl"):
            container[name] = container[name] or None
        return id_, outs

    def read(self, id_: str, outs: Props) -> Props | None:
        with self._client() as client:
            # By name, too: the real plugin takes a service of that name for its own.
            found = [item for item in client.services() if item["ID"] == id_ or item["Spec"]["Name"] == outs["name"]]
            return self._outputs(client, found[0]["ID"]) if found else None

    def update(self, id_: str, outs: Props, news: Props) -> Props:
        planned = _planned(_SERVICE, outs, news)
        try:
            with self._client() as client:
                version = client.inspect_service(id_)["Version"]["Index"]
                client.update_service(id_, version, **_arguments(_full_spec(planned)))
                return self._outputs(client, id_)
        except StepError as error:
            raise InitError(str(error), outs | planned) from None

    def delete(self, id_: str) -> None:
        with self._client() as client:
            client.remove_service(id_)

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
        try:
            with closing(APIClient(base_url=self._host)) as client:
                yield client
        except APIError as error:
            raise StepError(f"Error response from daemon: {error.explanation}") from None
        except (DockerException, RequestException):
            raise StepError(f"Cannot connect to the Docker daemon at {self._host}") from None


def _with_defaults(where: str, fields: Fields, news: Props) -> Props:
    """Refuse inputs that are not implemented; note in each object, as the bridge does, which were filled in."""
    refuse_unknown(where, news, fields)
    checked: Props = {"__defaults": []}
    for name, value in news.items():
        about = fields[name]
        if not about.fields or value == UNKNOWN:
            checked[name] = value
        elif isinstance(value, list):
            checked[name] = [_with_defaults(f"{where}.{name}", about.fields, item) for item in value]
        else:
            checked[name] = _with_defaults(f"{where}.{name}", about.fields, value)
    return checked


def _full_spec(planned: Props) -> Props:
    """Return the service's spec, with the empty blocks that the real provider sends, too."""
    spec = _spec(_SERVICE, planned)
    for name in ("Placement", "RestartPolicy", "Resources"):
        spec["TaskTemplate"].setdefault(name, {})
    return {"EndpointSpec": {}, "Mode": {}, **spec}


def _arguments(spec: Props) -> Props:
    names = {"TaskTemplate": "task_template", "EndpointSpec": "endpoint_spec"}
    return {names.get(key, re.sub(r"(?<!^)([A-Z])", r"_\1", key).lower()): value for key, value in spec.items()}


def _resolve(client: APIClient, task: Props) -> None:
    """Pin the image, and take its platforms, as docker's own client does at a create, and only then."""
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
    refuse_unknown(where, news, {"host", "version"})
    host = news.get("host")
    if not _LAB_DAEMON.fullmatch(host or ""):
        raise StepError(
            f"{where}: found {host or 'no host'}, expected a lab's docker host (unix:///run/msr-cache-lab...): "
            "this is the lab's stand-in for pulumi-docker's plugin; any other swarm needs the real one, "
            "which `pulumi plugin install resource docker` installs"
        )
    return news


def _find(type_: str, config: Props) -> Provider | None:
    return Service(config["host"]) if type_ == Service.type else None


if __name__ == "__main__":
    serve("pulumi-docker", "5.2.0", _connect, _find)
