"""What a stack's config may say: each mistake is a line with key path, found and allowed; defaults are the seed's."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import yaml

from msr_cache.config import registry_config
from msr_cache.config.errors import quoted
from msr_cache.config.settings import LONGEST_CACHE_NAME, GivenCa
from msr_cache.config.validation import read, validate
from msr_cache.resources.swarm_file import DIGITS
from msr_cache.rollout import trial
from tests.msr_cache.conftest import (
    ABSENT,
    MSR_TLS,
    PROJECT,
    THREE_FACTS,
    as_engine_gives,
    declared,
    listing,
    load,
    mistakes,
    node,
    plain,
    settings_with,
    with_changes,
)
from tests.seed import STACK_YAML

TOP_KEYS = "cacheDefaults, caches, imageRegistries, localCa, msr, stateId, swarm"
CACHE_KEYS = (
    "adoptStack, blobTtl, environment, externalPort, fqdn, image, label, logLevel, maxReplicasPerNode, nodes, port, "
    "publishMode, registerInMsr, registryConfig, replicas, resolveImage, resources, storage, tls, update, upstreams, "
    "verify, volume"
)
TLS_KEYS = "ca, certificate, intermediates, key, keyType, renewDays, sans, source, validityDays"
ORIGIN = "expected https://host[:port] with no path, user or blank"
HTTP_ORIGIN = "expected https://host[:port] or http://host[:port] with no path, user or blank"
HOST = "expected a host name or IP address alone: no scheme, port, path or blank"
IMAGE = "expected an image with a tag or digest, such as mirantis/dtr-content-cache:2.9.0"
DURATION = "expected a number with ms, s, m or h, such as 24h or 1h30m"
VERSION = 'expected MSR\'s version in quotes, such as "2.9" or "2.9.4" (2.x or 3.x)'
SWARM_HOST = "expected ssh://user@host, tcp://host:port or unix:///path"
CONTEXT = "expected a name that `docker context ls` shows"
ONE_ACCESS = "set exactly one of host, context, clientBundle"
MEMORY = "expected a number and a unit (k, m, g), such as 512m"
NODE = "expected a node's host name, as `docker node ls` shows it"
CACHE_NAME = f"expected a-z, 0-9 and - inside, {LONGEST_CACHE_NAME} characters at most"
TEXT_FOR_MAP = "expected a map, found text"
VARIABLE = "expected a variable's name; for REGISTRY_..., use registryConfig"
MISSING = "missing; set it, because it has no default"
STATE_ID = "expected a state's id: 12 lower-case hexadecimal digits, the first a letter"
NO_ENTRY = "must have at least one entry"

pytestmark = pytest.mark.usefixtures("secret_config")

# Key path, a wrong value there, and the line; where the line's path is another, it is in full.
WRONG: list[tuple[str, Any, str]] = [
    # Unknown keys, at each level, with the nearest known one.
    (
        "mrs",
        {},
        f"msr-cache:mrs: unknown key; did you mean msr? (known keys: {TOP_KEYS})",
    ),
    ("msr.ulr", "x", "unknown key; did you mean url? (known keys: ca, password, token, url, user, version)"),
    ("swarm.hots", "x", "unknown key; did you mean host? (known keys: clientBundle, context, host)"),
    (".blobTTL", "24h", f"unknown key; did you mean blobTtl? (known keys: {CACHE_KEYS})"),
    (".blob_ttl", "24h", f"unknown key; did you mean blobTtl? (known keys: {CACHE_KEYS})"),
    (".prot", 443, f"unknown key; did you mean port? (known keys: {CACHE_KEYS})"),
    (".somethingElse", 1, f"unknown key (known keys: {CACHE_KEYS})"),
    (".resources.limit", {}, "unknown key; did you mean limits? (known keys: limits, reservations)"),
    (".resources.limits.cpu", 1, "unknown key; did you mean cpus? (known keys: cpus, memory)"),
    (".update.ordre", "x", "unknown key; did you mean order? (known keys: monitor, order)"),
    (".tls.validity", 10, f"unknown key; did you mean validityDays? (known keys: {TLS_KEYS})"),
    # Missing sections and facts.
    ("msr", ABSENT, MISSING),
    ("swarm", ABSENT, MISSING),
    ("caches", ABSENT, MISSING),
    ("msr.url", ABSENT, MISSING),
    (".fqdn", ABSENT, MISSING),
    (".nodes", ABSENT, MISSING),
    ("caches", {}, NO_ENTRY),
    # Text or another thing where a map is due.
    ("msr", "https://msr.example.com", TEXT_FOR_MAP),
    ("swarm", "ssh://ops@manager-1", TEXT_FOR_MAP),
    ("swarm", None, "expected a map, found null"),
    ("caches", "{asia: {}}", TEXT_FOR_MAP),
    ("caches", ["asia"], "expected a map, found a list"),
    ("caches.asia", None, "expected a map, found null"),
    ("caches.asia", "cache.asia.example.com", TEXT_FOR_MAP),
    (".storage", "filesystem", TEXT_FOR_MAP),
    (".registryConfig", "log", TEXT_FOR_MAP),
    (".tls", True, "expected a map, found true or false"),
    # MSR.
    ("msr.url", "http://msr.example.com", f"found 'http://msr.example.com', {ORIGIN}"),
    ("msr.version", 2.9, f"found 2.9, {VERSION}"),
    ("msr.version", 3, f"found 3, {VERSION}"),
    ("msr.version", "2.9.1000", f"found '2.9.1000', {VERSION}"),
    ("msr.version", "v2.9", f"found 'v2.9', {VERSION}"),
    ("msr.version", "4.0", f"found '4.0', {VERSION}"),
    ("msr.version", "2.٩", f"found '2.٩', {VERSION}"),
    # The swarm.
    ("swarm.host", "manager-1", f"found 'manager-1', {SWARM_HOST}"),
    ("swarm.host", "https://manager-1", f"found 'https://manager-1', {SWARM_HOST}"),
    ("swarm.host", "tcp://manager-1:0", f"found 'tcp://manager-1:0', {SWARM_HOST}"),
    ("swarm.host", "tcp://manager-1", f"found 'tcp://manager-1', {SWARM_HOST}"),
    ("swarm", {}, f"found none; {ONE_ACCESS}"),
    ("swarm.context", "prod", f"msr-cache:swarm: found host and context; {ONE_ACCESS}"),
    ("swarm.clientBundle", "bundle.zip", f"msr-cache:swarm: found host and clientBundle; {ONE_ACCESS}"),
    ("swarm", {"context": "my prod"}, f"msr-cache:swarm.context: found 'my prod', {CONTEXT}"),
    ("swarm", {"clientBundle": ""}, "msr-cache:swarm.clientBundle: must not be empty"),
    # The state's id.
    ("stateId", "a0b1c2d3e4", f"found 'a0b1c2d3e4', {STATE_ID}"),
    ("stateId", "A0B1C2D3E4F5", f"found 'A0B1C2D3E4F5', {STATE_ID}"),
    ("stateId", "123456789012", f"found 123456789012, {STATE_ID}"),
    # A cache.
    ("caches.Asia", {"fqdn": "a", "nodes": ["b"]}, f"found 'Asia', {CACHE_NAME}"),
    ("caches.as_ia", {"fqdn": "a", "nodes": ["b"]}, f"found 'as_ia', {CACHE_NAME}"),
    (f"caches.{'a' * 33}", {"fqdn": "a", "nodes": ["b"]}, f"found '{'a' * 33}', {CACHE_NAME}"),
    (".fqdn", "https://cache.example.com", f"found 'https://cache.example.com', {HOST}"),
    (".fqdn", "::1%\nInjected: yes", f"found '::1%\\nInjected: yes', {HOST}"),
    (".tls.sans", ["fe80::1%eth0"], f"msr-cache:caches.asia.tls.sans[0]: found 'fe80::1%eth0', {HOST}"),
    (".nodes", [], NO_ENTRY),
    (".nodes", "worker-7", "expected a list, found text"),
    (".nodes", ["a", "b", "a"], "found a more than once, expected each node once"),
    (".registerInMsr", "yes", "found 'yes', expected true, false, or a map with users and adopt"),
    (".registerInMsr", ["alice"], "expected true, false, or a map with users and adopt, found a list"),
    (".verify", "on", "found 'on', expected 'off', 'tls' or 'pull'"),
    (".nodes", ["a", "worker 7"], f"msr-cache:caches.asia.nodes[1]: found 'worker 7', {NODE}"),
    (".nodes", [7], f"msr-cache:caches.asia.nodes[0]: found 7, {NODE}"),
    (".port", 0, "found 0, expected 1 or more"),
    (".port", 70000, "found 70000, expected 65535 or less"),
    (".port", "443", "found '443', expected a whole number"),
    (".port", True, "found true, expected a whole number"),
    (".publishMode", "Host", "found 'Host', expected 'ingress' or 'host'"),
    (".replicas", -1, "found -1, expected 0 or more"),
    (".replicas", 10**30, f"found {10**30}, expected 1000 or less"),
    (".replicas", True, "found true, expected a whole number"),
    (".replicas", 1.5, "found 1.5, expected a whole number"),
    (".maxReplicasPerNode", 0, "found 0, expected 1 or more"),
    (".maxReplicasPerNode", 1001, "found 1001, expected 1000 or less"),
    (".image", "mirantis/dtr content-cache:2.9.0", f"found 'mirantis/dtr content-cache:2.9.0', {IMAGE}"),
    (".image", "cache:٢.9.0", f"found 'cache:٢.9.0', {IMAGE}"),
    (".image", "cache:größe", f"found 'cache:größe', {IMAGE}"),
    (".image", "mirantis/dtr-content-cache", f"found 'mirantis/dtr-content-cache', {IMAGE}"),
    (".image", "localhost:5000/dtr-content-cache", f"found 'localhost:5000/dtr-content-cache', {IMAGE}"),
    (".image", "cache:2.9.٣", f"found 'cache:2.9.٣', {IMAGE}"),
    (".image", "https://example.com/cache:1", f"found 'https://example.com/cache:1', {IMAGE}"),
    (".label", "dtr cache", "found 'dtr cache', expected a node label's name, such as dtr.cache"),
    (".label", "dtr.cache=true", "found 'dtr.cache=true', expected a node label's name, such as dtr.cache"),
    (".blobTtl", 24, f"found 24, which means nanoseconds without a unit; {DURATION}"),
    (".logLevel", "verbose", "found 'verbose', expected 'error', 'warn', 'info' or 'debug'"),
    (".environment", ["A=1"], "expected a map, found a list"),
    (".environment.HTTP PROXY", "x", f"found 'HTTP PROXY', {VARIABLE}"),
    (".environment.DEBUG", 1, "found 1, expected text"),
    # It would change http.addr behind config.yml's back.
    (".environment.REGISTRY_HTTP_ADDR", ":5000", f"found 'REGISTRY_HTTP_ADDR', {VARIABLE}"),
    (".upstreams", [], NO_ENTRY),
    (
        ".upstreams",
        ["https://a.example.com", "b.example.com"],
        f"msr-cache:caches.asia.upstreams[1]: found 'b.example.com', {HTTP_ORIGIN}",
    ),
    (".resources.limits.memory", "512", f"found '512', {MEMORY}"),
    (".resources.limits.memory", 512, f"found 512, {MEMORY}"),
    (".resources.reservations.memory", "1GiB", f"found '1GiB', {MEMORY}"),
    (".resources.limits.memory", "99999999999999999999g", f"found '99999999999999999999g', {MEMORY}"),
    (".resources.limits.memory", "1048577g", "found '1048577g', expected 4m to 1048576g"),
    (".resources.limits.memory", "4095k", "found '4095k', expected 4m to 1048576g"),
    (".resources.limits.cpus", 0, "found 0, expected 0.001 or more"),
    (".resources.limits.cpus", 1e-10, "found 1e-10, expected 0.001 or more"),
    (".resources.limits.cpus", 1e300, "found 1e+300, expected 8192 or less"),
    (".resources.limits.cpus", "inf", "found 'inf', expected a finite number"),
    (".update.order", "start first", "found 'start first', expected 'start-first' or 'stop-first'"),
    (".update.monitor", 5, f"found 5, which means nanoseconds without a unit; {DURATION}"),
]


def full(path: str, line: str) -> str:
    if line.startswith("msr-cache:"):
        return line
    return f"msr-cache:{f'caches.asia{path}' if path.startswith('.') else path}: {line}"


@pytest.mark.parametrize(("path", "value", "line"), WRONG, ids=[f"{path}-{value!r:.30}" for path, value, _ in WRONG])
def test_a_mistake_is_one_line_with_key_path_found_and_allowed(path: str, value: Any, line: str) -> None:
    (found,) = mistakes({path: value})
    assert found == full(path, line)


def test_start_first_on_a_host_port_is_refused() -> None:
    (line,) = mistakes({".publishMode": "host", ".update.order": "start-first"})
    assert line == (
        "msr-cache:caches.asia: found update.order start-first with publishMode host, expected stop-first: "
        "two tasks can't share a node's port"
    )


ONE_EACH = {".maxReplicasPerNode": 1, ".nodes": ["n1", "n2"]}


@pytest.mark.parametrize(
    ("changes", "limit"),
    [({".publishMode": "host", ".nodes": ["n1", "n2"]}, "publishMode host"), (ONE_EACH, "maxReplicasPerNode")],
)
def test_more_replicas_than_the_nodes_take_are_refused(changes: dict[str, Any], limit: str) -> None:
    """The swarm would leave one pending for ever (moby issue 40797)."""
    (line,) = mistakes({**changes, ".replicas": 3})
    told = f"found 3, expected 2 or less: {limit} allows no more on n1, n2; add nodes"
    assert line == f"msr-cache:caches.asia.replicas: {told}"
    assert settings_with({**changes, ".replicas": 2}).caches["asia"].update_order == "stop-first"
    assert settings_with({**ONE_EACH, ".replicas": 1}).caches["asia"].update_order == "start-first"


def test_start_first_is_refused_where_no_node_has_room_for_one_more_task() -> None:
    (line,) = mistakes({**ONE_EACH, ".replicas": 2, ".update.order": "start-first"})
    found = "update.order start-first with 2 replicas, as many as maxReplicasPerNode allows"
    assert line == f"msr-cache:caches.asia: found {found}, expected stop-first: no node has room for one more task"


@pytest.mark.parametrize(
    ("volume", "told"),
    [
        ({}, ": set exactly one of"),
        ({"bind": "/a", "driver": {"name": "x"}}, ": found bind and driver; set exactly one of"),
        ({"bind": "a"}, ".bind: found 'a', expected an absolute path, such as /srv/msr-cache"),
        ({"bnid": "/a"}, ".bnid: unknown key; did you mean bind?"),
        ({"nfs": {"path": "/a"}}, ".nfs.server: missing"),
        ({"nfs": {"server": "a", "path": "/a", "options": "addr=b"}}, ".nfs.options: found 'addr=b', expected mount"),
        ({"nfs": {"server": "a", "path": "/a", "options": "hard, addr=b"}}, ".nfs.options: found 'hard, addr=b'"),
        ({"driver": {"name": ""}}, ".driver.name: must not be empty"),
        ({"driver": {"name": "x", "options": {"size": 5}}}, ".driver.options.size: found 5, expected text"),
    ],
)
def test_a_volume_that_can_not_be_mounted_is_refused_by_its_key(volume: dict[str, Any], told: str) -> None:
    (line, *_) = mistakes({".volume": volume})
    assert told.removeprefix(": ") in line
    assert line.startswith("msr-cache:caches.asia.volume" + told.partition(":")[0])


@pytest.mark.parametrize(
    "options", [{"o": "username=u,password=hunter2"}, {"o": "pass=hunter2"}, {"password": "hunter2"}]
)
def test_a_volumes_password_is_refused_because_the_swarm_would_show_it(options: dict[str, str]) -> None:
    (line,) = mistakes({".volume": {"driver": {"name": "local", "options": options}}})
    assert line.startswith("msr-cache:caches.asia.volume.driver.options: found a password, which everyone who may ")
    assert "hunter2" not in line


@pytest.mark.parametrize("addr", ["0.0.0.0:5001", ":https", None])
def test_a_registry_that_would_listen_on_another_port_than_is_published_is_refused(addr: str | None) -> None:
    (line,) = mistakes({".registryConfig.http.addr": addr, ".port": 8443})
    assert line == (
        f"msr-cache:caches.asia.registryConfig.http.addr: found {quoted(addr)}, expected port 8443, "
        "which is published; `port` changes both"
    )


@pytest.mark.parametrize("host", ["https://cache.asia.example.com", "http://cache.asia.example.com:8443", "elsewhere"])
def test_a_registry_that_would_send_clients_elsewhere_is_refused(host: str) -> None:
    (line,) = mistakes({".registryConfig.http.host": host, ".port": 8443})
    assert line == (
        f"msr-cache:caches.asia.registryConfig.http.host: found {quoted(host)}, expected "
        "https://cache.asia.example.com:8443, the cache's URL; `fqdn` and `externalPort` change both"
    )


@pytest.mark.parametrize("host", ["https://cache.asia.example.com", None])
def test_a_registry_may_be_told_the_caches_url_or_none(host: str | None) -> None:
    over = {"http": {"host": host}}
    assert settings_with({".registryConfig": over}).caches["asia"].registry_config == over


def test_every_mistake_is_told_at_once() -> None:
    changes = {"msr.url": "http://msr", "swarm": {}, ".port": 0, ".nodes": [], ".fqdn": "a:1", ".prot": 1, "x": "{"}
    found = mistakes({**changes, "caches.eu": {"nodes": ["b"], "blobTtl": 24}})
    assert sorted(line.partition(": ")[0].removeprefix("msr-cache:") for line in found) == [
        "caches.asia.fqdn",
        "caches.asia.nodes",
        "caches.asia.port",
        "caches.asia.prot",
        "caches.eu.blobTtl",
        "caches.eu.fqdn",
        "msr.url",
        "swarm",
        "x",
    ]


def test_another_projects_config_is_left_alone() -> None:
    others = {"docker:host": "ssh://elsewhere", "msr-cache-2:msr": "x", "other:swarm": "{}"}
    assert load(others | as_engine_gives(THREE_FACTS)) == settings_with()


# Two caches on one swarm.


def two(**both: Any) -> dict[str, Any]:
    """Return caches asia and europe, on one node, each with a label of its own."""
    caches = {
        name: {"fqdn": f"{name}.example.com", "nodes": ["worker-7"], "label": f"cache.{name}", **both}
        for name in ("asia", "europe")
    }
    return {"caches": caches}


def test_one_label_for_two_caches_is_refused() -> None:
    config = two(label="dtr.cache")
    config["caches"]["europe"]["port"] = 444
    (line,) = mistakes(config)
    assert line == (
        "msr-cache:caches.europe.label: found 'dtr.cache', which places cache asia too, "
        "expected another one, such as dtr.cache.europe"
    )


def test_one_port_of_one_node_for_two_caches_is_refused() -> None:
    (line,) = mistakes(two(publishMode="host"))
    assert line == (
        "msr-cache:caches.europe.port: found 443, which cache asia publishes on worker-7 too, "
        "expected another, or other nodes"
    )


@pytest.mark.parametrize("modes", [("ingress", "ingress"), ("ingress", "host"), ("host", "ingress")])
def test_an_ingress_port_is_taken_on_every_node_so_other_nodes_do_not_help(modes: tuple[str, str]) -> None:
    config = two()
    for cache, mode, name in zip(config["caches"].values(), modes, ("worker-7", "worker-8"), strict=True):
        cache |= {"publishMode": mode, "nodes": [name]}
    (line,) = mistakes(config)
    assert "found 443, which cache" in line
    assert line.endswith("expected another, or publishMode host for both, on different nodes")


def test_three_caches_on_one_port_are_one_line_for_each_but_the_first() -> None:
    config = two()
    config["caches"]["europe"] |= {"publishMode": "host"}
    config["caches"]["africa"] = config["caches"]["asia"] | {"label": "cache.africa"}
    paths = [line.partition(": ")[0] for line in mistakes(config)]
    assert sorted(paths) == ["msr-cache:caches.africa.port", "msr-cache:caches.europe.port"]


def test_a_mistake_in_one_cache_hides_none_that_two_others_make_together() -> None:
    config = two()
    wrong = {"fqdn": "wrong.example.com", "nodes": ["worker-8"], "label": "cache.asia"}
    order = {"publishMode": "host", "update": {"order": "start-first"}}
    config["caches"] |= {"africa": {**wrong, "nodes": []}, "america": {**wrong, **order}}
    paths = [line.partition(": ")[0].removeprefix("msr-cache:caches.") for line in mistakes(config)]
    assert paths == ["africa.nodes", "america", "europe.port"]


def test_host_ports_of_different_nodes_are_apart() -> None:
    config = two(publishMode="host")
    config["caches"]["europe"]["nodes"] = ["worker-8"]
    assert len(settings_with(config).caches) == 2


# Trust in MSR.


def test_a_certificate_that_is_no_ca_is_refused() -> None:
    (line,) = mistakes({"msr.ca": {"pem": MSR_TLS.certificate}})
    assert line.startswith("msr-cache:msr.ca.pem: found the certificate of ")
    assert "which is no CA, expected that of MSR's CA" in line


@pytest.mark.parametrize(
    "pin", ["AB:CD", "a" * 63, "A" * 64, ":".join(["ab"] * 32), f"sha1:{'a' * 64}", [], ["a" * 64, "b"], 7]
)
def test_a_pin_of_another_form_is_refused(pin: object) -> None:
    (line,) = mistakes({"msr.ca": {"sha256": pin}})
    assert line.startswith("msr-cache:msr.ca.sha256: ")
    assert "expected 64 lower-case hexadecimal digits without colons, a certificate's SHA-256" in line
    assert ("put it in quotes" in line) == isinstance(pin, int)


@pytest.mark.parametrize("ca", [{}, {"sha256": "a" * 64, "pem": MSR_TLS.ca}])
def test_a_pin_and_a_given_ca_exclude_each_other(ca: dict[str, str]) -> None:
    (line,) = mistakes({"msr.ca": ca})
    assert line.startswith("msr-cache:msr.ca: ")
    assert "set exactly one of sha256, pem" in line


@pytest.mark.parametrize("ca", ["auto", True, 1])
def test_another_word_for_trust_is_refused(ca: object) -> None:
    (line,) = mistakes({"msr.ca": ca})
    assert line.startswith(f"msr-cache:msr.ca: found {quoted(ca)}, expected fetch, system, or a map")


def test_several_pins_are_taken_with_and_without_the_name_of_the_digest() -> None:
    pins = ["0123456789abcdef" * 4, f"sha256:{'a' * 64}"]
    ca = settings_with({"msr.ca": {"sha256": pins}}).msr.ca
    assert isinstance(ca, GivenCa)
    assert ca.sha256 == pins


def test_a_comment_that_is_not_ascii_does_not_keep_openssl_from_reading_the_ca() -> None:
    ca = settings_with({"msr.ca": {"pem": f"# Stammzertifikat für MSR\n{MSR_TLS.ca}"}}).msr.ca
    assert isinstance(ca, GivenCa)
    assert len(ssl.create_default_context(cadata=ca.pem).get_ca_certs()) == 1


# Secrets.


S3 = {"region": "eu-west-1", "bucket": "b"}


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (".registryConfig.http", "hunter2", ""),
        (".registryConfig", "hunter2", ""),
        (".storage", "hunter2", ""),
        (".storage", {"s3": {**S3, "secretkeys": "hunter2"}}, ".s3.secretkeys"),
        (".storage", {"s3": "hunter2"}, ".s3"),
        (".fqdn", "-----BEGIN PRIVATE KEY-----\nhunter2", ""),
        ("msr.password", ["hunter2"], ""),
        ("msr.token", {"hunter2": 1}, ""),
        ("swarm.host", "tcp://ops:hunter2@manager-1:2376", ""),
        ("swarm.host", "ssh://ops:hunter2@manager-1", ""),
        (".fqdn", "ops:hunter2@cache.example.com", ""),
        (".registryConfig.http.host", "https://ops:hunter2@cache.example.com", ""),
        (".registryConfig.health", {"http": [{"uri": ["https://ops:hunter2@a"]}]}, ".http[0].uri"),
    ],
)
def test_a_secret_is_never_echoed_by_the_line_of_a_mistake(at: str, value: Any, told: str) -> None:
    raw = read(as_engine_gives(with_changes({at: value})), PROJECT)
    (mistake,) = [*validate(raw)[1], *registry_config.mistakes(raw)]
    line = mistake.line(PROJECT)
    assert line.startswith(full(at + told, ""))
    assert "hunter2" not in line


# What is right.

SEED_STACK = yaml.safe_load(STACK_YAML)["services"]["cache"]


def test_three_facts_are_enough_and_give_the_seeds_defaults() -> None:
    settings = settings_with()
    cache = settings.caches["asia"]
    assert [f"{cache.port}:{cache.port}"] == SEED_STACK["ports"]
    assert cache.publish_mode == "ingress"  # what `443:443` means to docker stack deploy
    assert cache.replicas == SEED_STACK["deploy"]["replicas"]
    assert [f"node.labels.{settings.label_of('asia')} == true"] == SEED_STACK["deploy"]["placement"]["constraints"]
    # The page's tag is 2.8.2, below the rule that the cache's tag equals MSR's own; the version is 2.9.
    assert settings.image_of("asia").split(":") == [SEED_STACK["image"].split(":")[0], "2.9.0"]
    assert (cache.blob_ttl, cache.log_level) == ("24h", "info")
    assert cache.storage == {"filesystem": {"rootdirectory": "/var/lib/registry"}}
    assert settings.upstreams_of("asia") == ["https://msr.example.com"]
    assert cache.url == "https://cache.asia.example.com"
    assert list(settings.warnings()) == []


@pytest.mark.parametrize(
    ("fqdn", "port", "url"),
    [
        ("cache.example.com", 443, "https://cache.example.com"),
        ("cache.example.com", 8443, "https://cache.example.com:8443"),
        ("10.1.2.3", 8443, "https://10.1.2.3:8443"),
        ("2001:db8::1", 443, "https://[2001:db8::1]"),
        ("2001:db8::1", 8443, "https://[2001:db8::1]:8443"),
    ],
)
def test_the_url_is_what_a_client_can_use(fqdn: str, port: int, url: str) -> None:
    settings = settings_with({".fqdn": fqdn, ".port": port})
    assert settings.caches["asia"].url == url
    assert registry_config.render(settings, "asia")["http"]["host"] == url


@pytest.mark.parametrize(
    ("external", "url"), [(443, "https://cache.asia.example.com"), (1, "https://cache.asia.example.com:1")]
)
def test_behind_a_balancer_clients_are_told_its_port_and_the_registry_listens_on_its_own(
    external: int, url: str
) -> None:
    """distribution issue 2225."""
    settings = settings_with({".port": 8443, ".externalPort": external})
    http = registry_config.render(settings, "asia")["http"]
    assert settings.caches["asia"].url == http["host"] == url
    assert http["addr"] == "0.0.0.0:8443"


@pytest.mark.parametrize(("version", "tag"), [("3.0", "3.0.0"), ("3.1", "3.1.0"), ("3.1.11", "3.1.11")])
def test_msr_3_has_names_of_its_own(version: str, tag: str) -> None:
    """Mirantis, MSR 3.1 documentation: label msr.cache, secret msr.cert.pem, image msr-content-cache."""
    settings = settings_with({"msr.version": version})
    assert settings.label_of("asia") == "msr.cache"
    assert settings.image_of("asia") == f"registry.mirantis.com/msr/msr-content-cache:{tag}"
    (downstream,) = registry_config.render(settings, "asia")["middleware"]["registry"]
    assert downstream["options"]["cas"] == ["/run/secrets/msr.cert.pem"]
    assert list(settings.warnings()) == []


def test_what_is_stated_takes_the_place_of_each_default() -> None:
    limits = {".resources.limits.memory": "1048576g", ".resources.reservations.memory": "4m"}
    settings = settings_with({"swarm": {"context": "prod"}, ".update.order": "stop-first", **limits})
    assert settings.swarm.context == "prod"
    assert settings.caches["asia"].update_order == "stop-first"


@pytest.mark.parametrize(
    "image",
    [
        "cache:1",
        "mirantis/dtr-content-cache:2.9.0",
        "registry.example.com:5000/a/b_c/d--e:v1.0_x-y",
        f"mirantis/dtr-content-cache@sha256:{'0a' * 32}",
        f"mirantis/dtr-content-cache:2.9.0@sha256:{'0a' * 32}",
    ],
)
def test_an_image_reference_of_dockers_grammar_is_accepted(image: str) -> None:
    assert settings_with({".image": image}).image_of("asia") == image


@pytest.mark.parametrize("image", ["mirantis/dtr-content-cache:2.8.2", f"other/cache:2.90.0@sha256:{'0a' * 32}"])
def test_a_tag_of_another_version_than_msrs_is_a_warning_that_says_what_happens(image: str) -> None:
    (warning,) = settings_with({".image": image}).warnings()
    tag = image.partition("@")[0].partition(":")[2]
    assert warning.startswith(f"msr-cache:caches.asia.image: tag {tag} differs from msr.version 2.9. ")
    # The registry's own words (Docker KB, "Troubleshooting common DTR content cache issues").
    assert "error unmarshaling response from upstream" in warning


@pytest.mark.parametrize(
    ("version", "tag"), [("2.9", "2.9.0"), ("2.9", "2.9.12"), ("2.9.4", "2.9.4"), ("3.1", "3.1.2")]
)
def test_a_tag_of_msrs_version_is_no_warning(version: str, tag: str) -> None:
    assert list(settings_with({"msr.version": version, ".image": f"cache:{tag}"}).warnings()) == []


def test_an_image_that_is_used_as_written_is_a_warning_that_says_what_to_see_to() -> None:
    (warning,) = settings_with({".image": "cache:2.9.0", ".resolveImage": False}).warnings()
    assert warning.startswith("msr-cache:caches.asia.resolveImage: image cache:2.9.0 is used as written. ")
    assert "load the same image into all of them" in warning


def test_the_longest_cache_name_still_gives_names_that_the_swarm_takes() -> None:
    """swarmkit: 63 characters for a service's name, 64 for a secret's."""
    name = "a" * LONGEST_CACHE_NAME
    program = declared({"caches": {name: THREE_FACTS["caches"]["asia"]}})
    service, files = plain(program.one("Service").inputs)["name"], program.of("SwarmSecret")
    template = {"ContainerSpec": {"Image": "cache:1"}}
    swarm = listing(node("worker-8", id_="0123456789abcdefghijklmno"))
    known = swarm.add("services", {"Name": service, "Labels": {}, "EndpointSpec": {}, "TaskTemplate": template})
    trial.on_node(swarm.manager, known, swarm.manager.get("/nodes")[0])
    (tried,) = swarm.created
    assert len(tried["Name"]) <= 63
    assert max(len(f"{plain(file.inputs)['prefix']}-") + DIGITS for file in files) <= 64


ACCOUNT = {"msr.user": "admin", "msr.password": "hunter2", "msr.ca": "system"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({".registerInMsr": True}, "msr-cache:msr.user: missing, and caches.asia asks for registerInMsr; "),
        ({".verify": "pull"}, "msr-cache:msr.user: missing, and caches.asia asks for verify: pull; "),
        ({"msr.user": "admin"}, "msr-cache:msr: found user; set "),
        (
            {**ACCOUNT, ".registerInMsr": True, ".replicas": 0, ".verify": "off"},
            "msr-cache:caches.asia.replicas: found 0 with registerInMsr",
        ),
        ({".verify": "tls", ".replicas": 0}, "msr-cache:caches.asia.replicas: found 0 with verify: tls, which needs "),
        ({"msr.password": "hunter2"}, "msr-cache:msr: found password; set "),
        ({**ACCOUNT, "msr.token": "hunter2"}, "msr-cache:msr: found user and password and token; set "),
        (
            {**ACCOUNT, ".registerInMsr": {"users": ["a b"]}},
            "msr-cache:caches.asia.registerInMsr.users[0]: found 'a b'",
        ),
        (
            {**ACCOUNT, ".registerInMsr": {"users": ["a", "a"]}},
            "msr-cache:caches.asia.registerInMsr.users: found a more",
        ),
        (
            {
                **ACCOUNT,
                ".registerInMsr": {"users": ["alice"]},
                "caches.b": {
                    "fqdn": "b",
                    "nodes": ["n"],
                    "label": "b",
                    "port": 1,
                    "registerInMsr": {"users": ["alice"]},
                },
            },
            "msr-cache:caches.b.registerInMsr.users: found alice, who pulls through cache asia too",
        ),
    ],
)
def test_a_registration_that_cannot_be_is_one_line_that_names_no_secret(changes: dict[str, Any], line: str) -> None:
    (found,) = mistakes(changes)
    assert found.startswith(line)
    assert "hunter2" not in found


@pytest.mark.parametrize("ca", [ABSENT, "fetch"])
@pytest.mark.parametrize("secret", ["msr.password", "msr.token"])
def test_credentials_are_refused_without_proof_of_who_msr_is(ca: Any, secret: str) -> None:
    changes = {"msr.user": "admin", secret: "hunter2", **({} if ca is ABSENT else {"msr.ca": ca})}
    (found,) = mistakes(changes)
    assert found.startswith("msr-cache:msr.ca: found fetch with the account admin, expected a pin (sha256), pem or sys")
    assert found.endswith("run python -m msr_cache ca https://msr.example.com")


@pytest.mark.parametrize("ca", ["system", {"sha256": "0a" * 32}, {"pem": MSR_TLS.ca}])
def test_credentials_are_taken_with_each_ca_that_is_known_beforehand(ca: Any) -> None:
    assert settings_with({**ACCOUNT, "msr.ca": ca}).msr.user == "admin"


def test_a_cache_is_verified_by_default_only_when_msr_is_about_to_send_people_to_it() -> None:
    assert settings_with().verify_of("asia") == "off"
    assert settings_with({**ACCOUNT, ".registerInMsr": True}).verify_of("asia") == "tls"
    assert settings_with({**ACCOUNT, ".registerInMsr": True, ".verify": "off"}).verify_of("asia") == "off"
    assert settings_with({".registerInMsr": False}).caches["asia"].register_in_msr is None
