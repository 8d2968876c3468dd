"""Checks config.yml, and masks its secrets: registry_schema.json says which keys, values and secrets there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msr_cache.config import errors
from msr_cache.config.errors import Mistake, mismatch
from msr_cache.config.field_types import go_duration, http_origin, value_at

if TYPE_CHECKING:
    from jsonschema import ValidationError

MASK = "[secret]"
SCHEMA = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "a map",
    "string": "text",
}


def mistakes(config: Mapping[str, Any]) -> list[Mistake]:
    """Return what the registry would ignore or refuse in `config`, whatever its shape."""
    found = list(_errors(config))
    secrets = [path for path, error in found if error.validator == "writeOnly"]
    by_path: dict[errors.Path, str] = {}
    for path, error in found:
        if error.validator not in {"writeOnly", "oneOf"}:
            secret = any(path[: len(above)] == above for above in secrets)
            by_path.setdefault(path, _text(path, error, secret=secret))

    # What is wrong in a place hides what a rule says about that place, or about one that leads to it or from it.
    def sound(path: errors.Path) -> bool:
        return not any(all(a == b for a, b in zip(path, other, strict=False)) for other in by_path)

    one_of = [Mistake(path, _one_of(error)) for path, error in found if error.validator == "oneOf" and sound(path)]
    rules = [each for each in _rules(config) if sound(each.path)]
    return sorted([*map(Mistake._make, by_path.items()), *one_of, *rules], key=lambda each: list(map(str, each.path)))


def mask_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `config` with MASK for every secret, and for all that is wrong, which may be one."""
    return masked(config, (path for path, error in _errors(config) if error.validator not in {"required", "oneOf"}))


def masked(config: Mapping[str, Any], paths: Iterable[errors.Path]) -> dict[str, Any]:
    """Return a copy of `config` with MASK at each of `paths`."""
    copy = deepcopy(dict(config))
    for *above, last in sorted(paths, key=len, reverse=True):
        place: Any = copy
        for part in above:
            place = place[part]
        place[last] = MASK
    return copy


def secrets(config: Mapping[str, Any]) -> Iterator[tuple[errors.Path, str]]:
    """Yield each text that is a secret, by its path in `config`, which may be incomplete."""
    for path, error in _errors(config):
        if error.validator == "writeOnly" and isinstance(error.instance, str) and error.instance:
            yield path, error.instance


def _errors(config: Mapping[str, Any]) -> Iterator[tuple[errors.Path, Any]]:
    """Yield jsonschema's errors by the path of their key: it reports unknown and missing keys at their map."""
    for error in _validator().iter_errors(config):
        path: errors.Path = tuple(error.absolute_path)
        keys: list[errors.Path] = [()]
        if error.validator == "additionalProperties":
            keys = [(key,) for key in error.instance if key not in error.schema.get("properties", {})]
        elif error.validator == "required":
            keys = [(key,) for key in error.validator_value if key not in error.instance]
        yield from (((*path, *key), error) for key in keys)


@cache
def _validator() -> Any:  # noqa: ANN401 - an error's parts may be unset to jsonschema's types
    # Imported where it is used: a program that checks no config saves the time.
    from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

    def secret(*_: object) -> Iterator[ValidationError]:
        """Report each value that is marked as a secret, so that its path is known."""
        yield ValidationError("secret")

    formats = FormatChecker(())
    for name, check in _FORMATS.items():
        formats.checks(name, raises=ValueError)(check)
    # JSON Schema takes 1.0 for an integer; a driver of the registry does not.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    strict = validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"writeOnly": secret}, type_checker=types
    )
    return strict(SCHEMA, format_checker=formats)


_FORMATS: dict[str, Callable[[object], bool]] = {
    "go-duration": lambda value: bool(go_duration(value)),
    "http-origin": lambda value: not isinstance(value, str) or bool(http_origin(value)),
}


def _text(path: errors.Path, error: Any, *, secret: bool) -> str:  # noqa: ANN401 - as above
    keyword, limit = str(error.validator), error.validator_value
    if keyword == "additionalProperties":
        return errors.unknown_key(path[-1], error.schema.get("properties", {}))
    if keyword == "format":
        return str(error.cause)
    plain = {"required": errors.MISSING, "minLength": errors.EMPTY, "minItems": errors.NO_ENTRY}
    if keyword in plain:
        return plain[keyword]
    expected = error.schema.get("description")
    if not expected and keyword == "enum":
        *others, last = map(repr, limit)
        expected = f"{', '.join(others)} or {last}" if others else last
    return mismatch(error.instance, expected or _TYPES[limit], secret=secret)


def _one_of(error: Any) -> str:  # noqa: ANN401 - as above
    names = [choice["required"][0] for choice in error.validator_value]
    return errors.exactly_one([name for name in names if name in error.instance], names)


def _rules(config: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what keys get wrong together; `config` may have any shape."""
    entries = value_at(config, "middleware", "registry")
    entries = entries if isinstance(entries, list) else []
    names = [value_at(entry, "name") for entry in entries]
    if names.count("downstream") != 1:
        found = " and ".join(map(errors.quoted, names)) or "none"
        text = f"found {found}, expected exactly one named downstream, which makes it a cache"
        yield Mistake(("middleware", "registry"), text)
    # MSR cache configuration reference, blobttl.
    expires = any(value_at(entry, "options", "blobttl") for entry in entries if value_at(entry, "name") == "downstream")
    if expires and not value_at(config, "storage", "delete", "enabled"):
        yield Mistake(("storage", "delete", "enabled"), mismatch(False, "true, because blobttl is set"))  # noqa: FBT003
    # registry/handlers/app.go.
    if value_at(config, "storage", "cache", "blobdescriptor") == "redis" and not value_at(config, "redis", "addr"):
        yield Mistake(("redis", "addr"), "missing; set it, because storage.cache.blobdescriptor is redis")
    # registry/registry.go: with none of them, it serves plain HTTP; with both, or without the key, it does not start.
    tls = value_at(config, "http", "tls")
    absent = [key for key in ("certificate", "key") if not value_at(tls, key)]
    if value_at(tls, "letsencrypt", "cachefile") and "certificate" not in absent:
        text = "found certificate and letsencrypt.cachefile, expected one of them; null removes the other"
        yield Mistake(("http", "tls"), text)
    elif absent and not value_at(tls, "letsencrypt", "cachefile"):
        text = f"found no {' and no '.join(absent)}, expected both, because the cache's URL is https"
        yield Mistake(("http", "tls"), text)
    # registry/handlers/app.go: once given, it replaces the defaults, and a missing key stops the registry.
    purging = value_at(config, "storage", "maintenance", "uploadpurging")
    absent = [key for key in ("age", "interval", "dryrun") if value_at(purging, key) is None]
    if purging is not None and absent and value_at(purging, "enabled") is not False:
        text = f"found no {', '.join(absent)}, expected age, interval and dryrun together, or enabled: false"
        yield Mistake(("storage", "maintenance", "uploadpurging"), text)
