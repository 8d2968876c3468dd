"""A cache made with `docker stack deploy`: the config that describes it, and what a run that adopts it changes."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from msr_cache import preview, volume
from msr_cache.config import cache_defaults, registry_config, registry_schema
from msr_cache.config.field_types import as_map, holds_credentials, value_at
from msr_cache.config.settings import Cache, Settings
from msr_cache.config.validation import validate
from msr_cache.refusal import Refusal
from msr_cache.rollout import convergence
from msr_cache.swarm import nodes
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.ownership import is_of_stack, service_name
from msr_cache.x509 import pem

_Map = Mapping[str, Any]
_FIXED = {"Hosts": "extra_hosts", "Sysctls": "sysctls"}
"""What the provider can change only by a replacement, as the Engine API and stack files call it."""
_PATIENCE = 3
"""Seconds for each place where a cache may serve its certificate."""


@dataclass(frozen=True)
class Adopted:
    """What a run takes over from docker stacks: ids of services by cache, what changes in words, and warnings."""

    services: dict[str, str]
    changes: list[str]
    warnings: list[str]


def adopted(manager: Manager, known: nodes.Nodes, settings: Settings) -> Adopted:
    """Return what this run takes over; raise Refusal if there is a cache that it can't take over."""
    found = Adopted({}, [], [])
    for name in (name for name, cache in settings.caches.items() if cache.adopt_stack):
        at = f"msr-cache:caches.{name}.adoptStack"
        service = manager.find(f"/services/{service_name(name)}")
        if service is None:
            raise Refusal(
                f"{at}: found no service {service_name(name)}, expected the one of docker stack deploy ... {name}. "
                "Give the cache the name of that stack, whose service must be called cache; or remove adoptStack"
            )
        # Else it is ours since an earlier run, or another owner's, which the checks of all caches refuse.
        if is_of_stack(service["Spec"].get("Labels"), name):
            try:
                _refuse_fixed(service)
                found.changes.append(_changes(manager, known, service, settings, name))
            except Refusal as error:
                advice = "Correct that in the stack file, and run docker stack deploy again"
                raise Refusal(f"{at}: {error}. {advice}; or see docs/adopt.md, 'Replace it'") from None
            found.services[name] = service["ID"]
            found.warnings.extend(_warnings(known, settings, name))
    return found


def _refuse_fixed(service: _Map) -> None:
    container = _container(service)
    found = [word for key, word in _FIXED.items() if container.get(key)]
    if "Replicated" not in as_map(service["Spec"].get("Mode")):
        found.append("another mode than replicated")
    if found:
        name = service["Spec"]["Name"]
        raise Refusal(f"found {' and '.join(found)} in service {name}, which can't be changed in place")


def _changes(manager: Manager, known: nodes.Nodes, service: dict[str, Any], settings: Settings, name: str) -> str:
    mounts = [
        f"{each.get('Source', 'new volume')}:{each.get('Target')}" for each in _container(service).get("Mounts") or ()
    ]
    old = dict(_of_service(known, service))
    config_yml = registry_schema.mask_secrets(_config_yml(manager, service))
    old |= {"configYaml": config_yml, "environment": _environment(service), "mounts": mounts}
    new = preview.settings_of(settings, name) | {
        "environment": settings.caches[name].environment,
        "mounts": [f"{each['source']}:{each['target']}" for each in volume.mounts(settings, name)],
    }
    return preview.takeover(name, preview.flat(old), preview.flat(new))


def _warnings(known: nodes.Nodes, settings: Settings, name: str) -> Iterator[str]:
    """Yield whom the certificate concerns, unless the cache serves the one that the config gives."""
    cache = settings.caches[name]
    given = cache.tls.given and pem.sha256_of(cache.tls.given.certificate)
    served = _served([node for node in known if nodes.hostname(node) in cache.nodes], cache)
    if given is None or served != given:
        now = f"the certificate with SHA-256 {served}" if served else "a certificate that this machine can't get"
        then = f"the one with SHA-256 {given}" if given else "a new one, which this run makes"
        yield (
            f"msr-cache:caches.{name}.tls: the cache serves {now}, after the restart {then}: pulls of clients that do "
            "not trust that fail until they do. To keep the certificate, set tls.source to provided, and give it with "
            "its key. See docs/adopt.md, 'The certificate'"
        )


def _served(found: nodes.Nodes, cache: Cache) -> str | None:
    """Return the SHA-256 of the certificate that the cache serves, at its URL or else on one of its nodes."""
    places = [(cache.fqdn, cache.external_port or cache.port)]
    places += [(nodes.address(node), cache.port) for node in found]
    for place in places:
        with suppress(OSError):
            return pem.sha256_of(ssl.get_server_certificate(place, timeout=_PATIENCE))
    return None


def described(manager: Manager, name: str, raw: _Map) -> dict[str, Any]:
    """Return the keys of the cache that differ from their defaults; `raw` is the stack's config, which names MSR."""
    service = manager.find(f"/services/{service_name(name)}")
    if service is None:
        raise Refusal(f"found no service {service_name(name)}, expected the one of docker stack deploy ... {name}")
    config_yml = _config_yml(manager, service)
    as_map(config_yml.get("http")).pop("secret", None)  # the stack creates its own
    config_yml = registry_schema.masked(config_yml, (path for path, _ in registry_schema.secrets(config_yml)))
    cache = dict(_of_service(manager.get("/nodes"), service)) | dict(_of_config_yml(config_yml))
    hidden = "to be set with pulumi config set --path --secret"
    variables = _environment(service)
    cache["environment"] = {key: hidden if holds_credentials(key, text) else text for key, text in variables.items()}
    if cache["externalPort"] == cache["port"]:
        del cache["externalPort"]
    settings = _checked(raw, name, cache)
    same = {key for key, value in _defaults(settings).items() if cache.get(key) == value}
    same -= as_map(raw.get(cache_defaults.KEY)).keys()  # which would change it
    cache = {key: value for key, value in cache.items() if key not in same}
    rest = _beyond(registry_config.render(settings, name), config_yml)
    return cache | ({"registryConfig": rest} if rest else {})


def _checked(raw: _Map, name: str, cache: _Map) -> Settings:
    settings, mistakes = validate({**raw, "caches": {name: cache}})
    if settings is None or mistakes:
        lines = [mistake.line("msr-cache") for mistake in mistakes]
        raise Refusal("\n".join(["The cache can't be described by this stack's config:", *lines]))
    return settings


def _defaults(settings: Settings) -> dict[str, Any]:
    fields = {str(field.alias): field.get_default(call_default_factory=True) for field in Cache.model_fields.values()}
    return fields | {
        "image": settings.msr.default_image,
        "label": f"{settings.msr.generation}.cache",
        "upstreams": [settings.msr.url],
    }


def _config_yml(manager: Manager, service: _Map) -> dict[str, Any]:
    for config in _container(service).get("Configs") or ():
        if value_at(config, "File", "Name") in ("config.yml", "/config.yml"):
            data = manager.get(f"/configs/{config['ConfigID']}")["Spec"].get("Data", "")
            try:
                return as_map(yaml.safe_load(base64.b64decode(data)))
            except (ValueError, yaml.YAMLError):
                raise Refusal("config.yml: found what is no YAML") from None
    raise Refusal(f"service {service['Spec']['Name']} has no swarm config config.yml that can be read back")


def _of_service(known: nodes.Nodes, service: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    spec = service["Spec"]
    task, ports = spec["TaskTemplate"], as_map(spec.get("EndpointSpec")).get("Ports")
    constraints = " ".join(as_map(task.get("Placement")).get("Constraints") or ())
    label = re.search(r"node\.labels\.(\S+)\s*==\s*true", constraints)
    if not label or not ports:
        raise Refusal(f"service {spec['Name']} has no published port, or no constraint node.labels.<label> == true")
    labelled = [node for node in known if nodes.labels(node).get(label[1]) == "true"]
    yield "nodes", sorted({nodes.hostname(node) for node in labelled})
    yield "port", ports[0].get("PublishedPort")
    yield "publishMode", ports[0].get("PublishMode", "ingress")
    yield "replicas", convergence.replicas(service)
    # Without the digest, which the swarm adds to a tag.
    yield "image", re.sub(r"(:[^@]+)@sha256:.*", r"\1", _container(service).get("Image", ""))
    yield "label", label[1]


def _environment(service: _Map) -> dict[str, str]:
    return dict(each.partition("=")[::2] for each in _container(service).get("Env") or ())


def _container(service: _Map) -> dict[str, Any]:
    return as_map(service["Spec"]["TaskTemplate"].get("ContainerSpec"))


def _of_config_yml(config: _Map) -> Iterator[tuple[str, Any]]:
    host = re.fullmatch(r"https://\[?([^/]+?)\]?(?::([0-9]+))?", str(value_at(config, "http", "host")))
    if not host:
        raise Refusal(f"config.yml: found http.host {value_at(config, 'http', 'host')}, expected the cache's URL")
    yield "fqdn", host[1]
    yield "externalPort", int(host[2] or 443)
    options = as_map(value_at(config, "middleware", "registry", 0, "options"))
    storage = {key: value for key, value in as_map(config.get("storage")).items() if key != "delete"}
    found = {
        "blobTtl": options.get("blobttl"),
        "upstreams": options.get("upstreams"),
        "logLevel": value_at(config, "log", "level"),
        "storage": storage,
    }
    yield from ((key, value) for key, value in found.items() if value)


def _beyond(rendered: _Map, found: _Map) -> dict[str, Any]:
    """Return what `found` has and `rendered` has not, or otherwise."""
    rest = {}
    for key, value in found.items():
        if isinstance(value, dict) and isinstance(rendered.get(key), dict):
            if inner := _beyond(rendered[key], value):
                rest[key] = inner
        elif value != rendered.get(key):
            rest[key] = value
    return rest
