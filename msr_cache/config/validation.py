"""Reads a stack's config, and finds its mistakes, also what keys get wrong together, each of them right by itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from msr_cache.config import cache_defaults, errors, image_registries, plain_text, registry_config, shared_storage
from msr_cache.config.errors import Mistake, mismatch, quoted
from msr_cache.config.field_types import as_map, value_at
from msr_cache.config.settings import Cache, Settings
from msr_cache.refusal import Refusal

_EVERY_NODE = "every node"


def checked(config: Mapping[str, str], project: str) -> tuple[Settings, dict[str, Any]]:
    """Return the settings, and what they are made of, or raise Refusal with every mistake in `config`."""
    written = read(config, project)
    raw = cache_defaults.applied(written)
    settings, found = validate(raw)
    found += [*registry_config.mistakes(raw), *plain_text.mistakes(written, plain_text.stack_file(), project)]
    if settings is None or found:
        at_source = dict.fromkeys(cache_defaults.where_written(written, mistake) for mistake in found)
        lines = [mistake.line(project) for mistake in at_source]
        raise Refusal("\n".join(["This stack's config can't be used; nothing was changed.", *lines]))
    return settings, raw


def read(config: Mapping[str, str], project: str) -> dict[str, Any]:
    """Return what `config` (the engine's map of full keys to text or JSON) has below `project`, right or wrong."""
    raw: dict[str, Any] = {}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace != project:
            continue
        try:
            raw[name] = json.loads(text)
        except ValueError:
            raw[name] = text
    return raw


def validate(raw: Mapping[str, Any]) -> tuple[Settings | None, list[Mistake]]:
    """Return the settings, or None if `raw` is no valid config, and every mistake."""
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        found = errors.mistakes(error, Settings)
        broken = {each.path[1] for each in found if each.path[0] == "caches" and len(each.path) > 1}
        sound = {name: cache for name, cache in as_map(raw.get("caches")).items() if name not in broken}
        if broken and sound:
            # A mistake in one cache hides none that two others make together.
            more = validate({**raw, "caches": sound})[1]
            found += [each for each in more if value_at(raw, *each.path) not in list(broken)]  # which others name
        return None, list(dict.fromkeys(found))
    return settings, _combined(settings)


def _combined(settings: Settings) -> list[Mistake]:
    """Return what keys that are right by themselves get wrong together."""
    return [
        *_shared_labels(settings),
        *_shared_accounts(settings),
        *_shared_ports(settings),
        *_served_elsewhere(settings),
        *_chain_mistakes(settings),
        *_missing_logins(settings),
        *_missing_account(settings),
        *_needed_though_stopped(settings),
        *_without_room(settings),
        *_unproven_msr(settings),
        *_certificate_mistakes(settings),
        *shared_storage.mistakes(settings),
    ]


def _shared_labels(settings: Settings) -> Iterator[Mistake]:
    for label, name, first in _repeated((settings.label_of(name), name) for name in settings.caches):
        text = f"found {quoted(label)}, which places cache {first} too, expected another one, such as {label}.{name}"
        yield Mistake(("caches", name, "label"), text)


def _shared_accounts(settings: Settings) -> Iterator[Mistake]:
    registered = ((name, cache.register_in_msr) for name, cache in settings.caches.items())
    users = ((user, name) for name, register in registered if register for user in register.users)
    for user, name, first in _repeated(users):
        text = f"found {user}, who pulls through cache {first} too, expected each account at one cache"
        yield Mistake(("caches", name, "registerInMsr", "users"), text)


def _shared_ports(settings: Settings) -> Iterator[Mistake]:
    named = set()
    for (first, cache), (name, other) in combinations(settings.caches.items(), 2):
        place = _shared_place(cache, other)
        if place is None or name in named:
            continue
        named.add(name)
        choice = "publishMode host for both, on different nodes" if place == _EVERY_NODE else "other nodes"
        text = f"found {other.port}, which cache {first} publishes on {place} too, expected another, or {choice}"
        yield Mistake(("caches", name, "port"), text)


def _served_elsewhere(settings: Settings) -> Iterator[Mistake]:
    """Yield what makes a cache serve elsewhere than at its URL."""
    for name, cache in settings.caches.items():
        http, path = as_map(cache.registry_config.get("http")), ("caches", name, "registryConfig", "http")
        if "addr" in http and str(http["addr"]).rpartition(":")[2] != str(cache.port):
            text = mismatch(http["addr"], f"port {cache.port}, which is published; `port` changes both")
            yield Mistake((*path, "addr"), text)
        if isinstance(host := http.get("host"), str) and host != cache.url:
            text = mismatch(host, f"{cache.url}, the cache's URL; `fqdn` and `externalPort` change both")
            yield Mistake((*path, "host"), text)


def _chain_mistakes(settings: Settings) -> Iterator[Mistake]:
    for name in settings.caches:
        for number, hop in enumerate(settings.next_hops(name)):
            path, host = ("caches", name, "upstreams", number), urlsplit(hop.url or "").hostname
            if hop.cache and hop.cache not in settings.caches:
                text = mismatch(hop.cache, f"a cache of this stack ({', '.join(settings.caches)})")
                yield Mistake((*path, "cache"), text)
            elif hop.needs_ca and not hop.ca and host != urlsplit(settings.msr.url).hostname:
                text = (
                    f"found {hop.url} without ca, expected one, because it is not MSR ({settings.msr.url}): set "
                    "url, and ca to {sha256: ...}, {pem: ...} or system; for a cache of this stack, {cache: NAME}"
                )
                yield Mistake(path, text)
    try:
        settings.upstreams_first()
    except CycleError as error:
        _, *names = reversed(error.args[1])
        text = f"found a circle ({' from '.join([names[-1], *names])}), expected a chain that ends at MSR"
        yield Mistake(("caches", names[-1], "upstreams"), text)


def _missing_logins(settings: Settings) -> Iterator[Mistake]:
    for host, registry in settings.image_registries.items():
        try:
            if registry.config_file:
                image_registries.in_file(registry.config_file, host)
        except ValueError as error:
            yield Mistake((image_registries.KEY, host, "configFile"), str(error))


def _missing_account(settings: Settings) -> Iterator[Mistake]:
    for name, cache in settings.caches.items():
        wish = "registerInMsr" if cache.register_in_msr else f"verify: {cache.verify}"
        if not settings.msr.user and wish in ("registerInMsr", "verify: pull"):
            text = (
                f"missing, and caches.{name} asks for {wish}; set an admin's account, and its password or token "
                "with pulumi config set --path --secret 'msr-cache:msr.password'"
            )
            yield Mistake(("msr", "user"), text)


def _needed_though_stopped(settings: Settings) -> Iterator[Mistake]:
    for name, cache in settings.caches.items():
        if cache.replicas == 0 and (cache.register_in_msr or settings.verify_of(name) != "off"):
            wish = "registerInMsr" if cache.register_in_msr else f"verify: {cache.verify}"
            text = f"found 0 with {wish}, which needs a cache that serves, expected 1 or more, or no {wish}"
            yield Mistake(("caches", name, "replicas"), text)


def _without_room(settings: Settings) -> Iterator[Mistake]:
    for name, cache in settings.caches.items():
        if cache.most_replicas is not None and cache.replicas > cache.most_replicas:
            limit = "publishMode host" if cache.publish_mode == "host" else "maxReplicasPerNode"
            text = f"found {cache.replicas}, expected {cache.most_replicas} or less: {limit} allows no more on "
            yield Mistake(("caches", name, "replicas"), f"{text}{', '.join(cache.nodes)}; add nodes")


def _unproven_msr(settings: Settings) -> Iterator[Mistake]:
    if settings.msr.user and settings.msr.ca == "fetch":
        text = (
            f"found fetch with the account {settings.msr.user}, expected a pin (sha256), pem or system: otherwise the "
            "password or token would go to whoever answers as MSR. To see the CA and pin it, run "
            f"python -m msr_cache ca {settings.msr.url}"
        )
        yield Mistake(("msr", "ca"), text)


def _certificate_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Yield what keeps clients from trusting a cache with the certificates that you give."""
    for name, cache in settings.caches.items():
        if given := cache.tls.given:
            from msr_cache.x509.chain import server_mistakes

            for key, problem in server_mistakes(given, cache.hosts):
                yield Mistake(("caches", name, "tls", key), problem)
    if settings.local_ca:
        from msr_cache.x509.chain import ca_mistakes

        signed = settings.signed_locally()
        given = settings.local_ca.given(max((cache.tls.renew_days for cache in signed), default=0))
        for key, problem in ca_mistakes(given, [host for cache in signed for host in cache.hosts]):
            yield Mistake(("localCa", key), problem)


def _shared_place(one: Cache, other: Cache) -> str | None:
    """Return where both caches publish the same port, if anywhere: ingress publishes a port on every node."""
    if one.port != other.port:
        return None
    if "ingress" in (one.publish_mode, other.publish_mode):
        return _EVERY_NODE
    return next((node for node in one.nodes if node in other.nodes), None)


def _repeated(claims: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield what a cache claims that an earlier cache claims too, with the names of both."""
    first: dict[str, str] = {}
    for claim, name in claims:
        if first.setdefault(claim, name) != name:
            yield claim, name, first[claim]
