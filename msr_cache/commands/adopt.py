"""`python -m msr_cache adopt NAME`: prints the config of a cache made with `docker stack deploy`; changes nothing."""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from msr_cache.commands import pulumi_cli
from msr_cache.config import cache_defaults, registry_config, registry_schema
from msr_cache.config.field_types import as_map, holds_credentials, value_at
from msr_cache.config.settings import Cache, Settings, validate
from msr_cache.refusal import Refusal
from msr_cache.rollout import convergence
from msr_cache.swarm import nodes
from msr_cache.swarm.manager import Address, Manager
from msr_cache.swarm.ownership import service_name

_Map = Mapping[str, Any]
NOT_CARRIED = """\
# Set each value [secret] with pulumi config set --path --secret.
# The swarm gives no secret back. Set tls.source to provided with the cache's certificate and key, or let clients trust
# the new certificate that the stack creates: see docs/adopt.md.
"""


def main(arguments: list[str]) -> None:
    """Print YAML for `Pulumi.<stack>.yaml`, whose msr-cache:msr and msr-cache:swarm are set already."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache adopt", description=__doc__)
    parser.add_argument("name", help="the name given to docker stack deploy, which becomes the cache's")
    parser.add_argument("--stack", help="another Pulumi stack than the selected one")
    options = parser.parse_args(arguments)
    try:
        raw = pulumi_cli.config(options.stack)
        manager = Manager(Address.from_config(as_map(raw.get("swarm"))))
        cache = described(manager, options.name, raw)
    except Refusal as error:
        sys.exit(str(error))
    print(
        NOT_CARRIED + yaml.safe_dump({"config": {"msr-cache:caches": {options.name: cache}}}, sort_keys=False), end=""
    )


def described(manager: Manager, name: str, raw: _Map) -> dict[str, Any]:
    """Return the keys of the cache that differ from their defaults; `raw` is the stack's config, which names MSR."""
    service = manager.find(f"/services/{service_name(name)}")
    if service is None:
        raise Refusal(f"found no service {service_name(name)}, expected the one of docker stack deploy ... {name}")
    spec, config_yml = service["Spec"], _config_yml(manager, service)
    cache = dict(_of_service(manager.get("/nodes"), spec)) | dict(_of_config_yml(config_yml))
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
        lines = [mistake.line(pulumi_cli.PROJECT) for mistake in mistakes]
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
    for config in as_map(service["Spec"]["TaskTemplate"].get("ContainerSpec")).get("Configs") or ():
        if value_at(config, "File", "Name") in ("config.yml", "/config.yml"):
            spec = manager.get(f"/configs/{config['ConfigID']}")["Spec"]
            try:
                found = as_map(yaml.safe_load(base64.b64decode(spec.get("Data", ""))))
            except (ValueError, yaml.YAMLError):
                raise Refusal(f"swarm config {spec['Name']}: found what is no YAML, expected config.yml") from None
            as_map(found.get("http")).pop("secret", None)  # the stack creates its own
            return registry_schema.masked(found, (path for path, _ in registry_schema.secrets(found)))
    raise Refusal(f"service {service['Spec']['Name']} has no swarm config config.yml that can be read back")


def _of_service(known: nodes.Nodes, spec: _Map) -> Iterator[tuple[str, Any]]:
    task, ports = spec["TaskTemplate"], as_map(spec.get("EndpointSpec")).get("Ports")
    container = as_map(task.get("ContainerSpec"))
    constraints = " ".join(as_map(task.get("Placement")).get("Constraints") or ())
    label = re.search(r"node\.labels\.(\S+)\s*==\s*true", constraints)
    if not label or not ports:
        raise Refusal(f"service {spec['Name']} has no published port, or no constraint node.labels.<label> == true")
    labelled = [node for node in known if nodes.labels(node).get(label[1]) == "true"]
    yield "nodes", sorted({nodes.hostname(node) for node in labelled})
    yield "port", ports[0].get("PublishedPort")
    yield "publishMode", ports[0].get("PublishMode", "ingress")
    yield "replicas", convergence.replicas({"Spec": spec})
    # Without the digest, which the swarm adds to a tag.
    yield "image", re.sub(r"(:[^@]+)@sha256:.*", r"\1", container.get("Image", ""))
    yield "label", label[1]
    variables = dict(each.partition("=")[::2] for each in container.get("Env") or ())
    hidden = "to be set with pulumi config set --path --secret"
    yield "environment", {key: hidden if holds_credentials(key, text) else text for key, text in variables.items()}


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
