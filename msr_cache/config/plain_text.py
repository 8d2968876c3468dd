"""Finds the secrets in a stack's config that everybody who may read its file may read."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime.config import is_config_secret

from msr_cache.config import errors, image_registries, registry_schema
from msr_cache.config.errors import Mistake
from msr_cache.config.field_types import as_map, holds_credentials, value_at


def stack_file() -> dict[str, Any]:
    """Return the config as the stack's file has it, where what is encrypted is a map with the key `secure`.

    Empty if the file is elsewhere (`pulumi --config-file`), which the engine tells no program.
    """
    return _config_in(Path(pulumi.get_root_directory(), f"Pulumi.{pulumi.get_stack()}.yaml"))


@functools.cache
def _config_in(path: Path) -> dict[str, Any]:
    # Each cache with an environment asks for it, and the file of a whole fleet is slow to parse.
    try:
        return as_map(as_map(yaml.safe_load(path.read_text("utf-8"))).get("config"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def mistakes(raw: Mapping[str, Any], file: Mapping[str, Any], project: str) -> Iterator[Mistake]:
    """Yield each secret in plain text."""
    for path, value in _secrets(raw):
        if is_plain(value, file, project, path):
            command = f"pulumi config set --path --secret '{project}:{errors.dotted(path)}'"
            text = f"found a secret in plain text, expected an encrypted one: {command}"
            if path[-1] == "key":
                text = (
                    "found a private key in plain text, expected the path of its file, or the key as a secret: "
                    f"{command} < FILE"
                )
            yield Mistake(path, text)


def is_plain(value: object, file: Mapping[str, Any], project: str, *paths: errors.Path) -> bool:
    """Whether `value`, which is at one of `paths`, is in plain text.

    If anything below a key such as `caches` is encrypted, the engine says no more than that of all that is below it.
    So a value is in plain text if nothing below its key is encrypted, or if it is in `file` as the program has it.
    """
    in_file = any(value_at(file.get(f"{project}:{section}"), *keys) == value for section, *keys in paths)
    return in_file or not any(is_config_secret(f"{project}:{section}") for section, *_ in paths)


def _secrets(raw: Mapping[str, Any]) -> Iterator[tuple[errors.Path, object]]:
    """Yield the path and value of each secret.

    These are what the schema of config.yml marks, passwords, private keys, and credentials in an environment.
    """
    caches: dict[errors.Path, object] = {("caches", name): cache for name, cache in as_map(raw.get("caches")).items()}
    caches[("cacheDefaults",)] = raw.get("cacheDefaults")
    hosts = as_map(raw.get(image_registries.KEY))
    passwords: list[errors.Path] = [(image_registries.KEY, host, "password") for host in hosts]
    for path in (("msr", "password"), ("msr", "token"), *passwords):
        if value := value_at(raw, *path):
            yield path, value
    keys: list[errors.Path] = [("localCa", "key"), *((*at, "tls", "key") for at in caches)]
    for path in keys:
        if "PRIVATE KEY-----" in str(value := value_at(raw, *path)):
            yield path, value
    for at, cache in caches.items():
        for key, value in as_map(value_at(cache, "environment")).items():
            if isinstance(value, str) and holds_credentials(key, value):
                yield (*at, "environment", key), value
        given = {"storage": value_at(cache, "storage")}, as_map(value_at(cache, "registryConfig"))
        for above, config in zip(((), ("registryConfig",)), given, strict=True):
            for path, value in registry_schema.secrets(config):
                yield (*at, *above, *path), value
