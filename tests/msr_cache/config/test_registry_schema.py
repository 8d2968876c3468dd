"""What config.yml may say and what of it a person may see; keys and limits are from distribution's source at v2.8.3."""

from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from msr_cache.config import registry_schema
from msr_cache.config.registry_schema import MASK, SCHEMA, mask_secrets

# The config.yml of Mirantis' page "Prepare the cache deployment" (MSR 2.9), with the doubled quote corrected.
SEED: dict[str, Any] = {
    "version": 0.1,
    "log": {"level": "info"},
    "storage": {"delete": {"enabled": True}, "filesystem": {"rootdirectory": "/var/lib/registry"}},
    "http": {
        "addr": "0.0.0.0:443",
        "secret": "generate-random-secret",
        "host": "https://cache.example.org",
        "tls": {"certificate": "/run/secrets/cache.cert.pem", "key": "/run/secrets/cache.key.pem"},
    },
    "middleware": {
        "registry": [
            {
                "name": "downstream",
                "options": {
                    "blobttl": "24h",
                    "upstreams": ["https://msr.example.org:443"],
                    "cas": ["/run/secrets/dtr.cert.pem"],
                },
            }
        ]
    },
}
OPTIONS = "middleware.registry.0.options"
DRIVERS: dict[str, dict[str, Any]] = {
    "filesystem": {},
    "inmemory": {},
    "azure": {"accountname": "a", "accountkey": "a", "container": "c"},
    "gcs": {"bucket": "b"},
    "s3": {"region": "eu-west-1", "bucket": "b"},
    "swift": {"username": "u", "password": "p", "authurl": "https://swift.example.org", "container": "c"},
    "oss": {"accesskeyid": "a", "accesskeysecret": "a", "region": "oss-eu", "bucket": "b"},
}
SECRETS = [
    "http.secret",
    "redis.password",
    "proxy.password",
    "reporting.bugsnag.apikey",
    "reporting.newrelic.licensekey",
    "log.hooks.0.options.smtp.password",
    "notifications.endpoints.0.headers.Authorization.0",
    "health.http.0.headers.Authorization.0",
    "storage.azure.accountkey",
    "storage.gcs.credentials.private_key",
    "storage.s3.accesskey",
    "storage.s3.secretkey",
    "storage.swift.password",
    "storage.swift.secretkey",
    "storage.swift.accesskey",
    "storage.oss.accesskeyid",
    "storage.oss.accesskeysecret",
]


def placed(path: str, value: Any) -> dict[str, Any]:
    """Return the seed with `value` at `path`, on the driver and in the kind of entry that `path` is about."""
    config = deepcopy(SEED)
    parts = path.split(".")
    if parts[0] == "storage" and len(parts) > 1 and parts[1] in DRIVERS:
        config["storage"] = {"delete": {"enabled": True}, parts[1]: deepcopy(DRIVERS[parts[1]])}
    here: Any = config
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        inner: Any = value if following == "" else [] if following.isdigit() else {}
        if isinstance(here, list):
            if int(part) == len(here):
                here.append(inner)
            if following == "":
                here[int(part)] = value
            here = here[int(part)]
        else:
            here[part] = here.get(part, inner) if following else value
            here = here[part]
    return config


def mistakes(config: dict[str, Any]) -> list[str]:
    return [each.line("").removeprefix(":") for each in registry_schema.mistakes(config)]


def mistake(config: dict[str, Any]) -> str:
    (line,) = mistakes(config)
    return line


def shown(path: str) -> str:
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")).removeprefix(".")


@pytest.mark.parametrize(("driver", "needs"), [*DRIVERS.items(), ("filesystem", None), ("inmemory", None)])
def test_a_driver_with_what_it_needs_is_right(driver: str, needs: dict[str, Any] | None) -> None:
    assert mistakes(SEED | {"storage": {"delete": {"enabled": True}, driver: needs}}) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", "0.1"),
        ("loglevel", "debug"),
        ("log.accesslog.disabled", True),
        ("log.fields.service", "cache"),
        ("log.hooks.0", {"type": "mail", "levels": ["panic"], "options": {"from": "a@b", "to": ["c@d"]}}),
        ("storage.cache", {"blobdescriptor": "inmemory"}),
        ("storage.redirect", {"disable": True}),
        ("storage.maintenance.readonly", {"enabled": False}),
        ("storage.maintenance.uploadpurging", {"enabled": False}),
        ("storage.maintenance.uploadpurging", {"age": "168h", "interval": "24h", "dryrun": False}),
        ("storage.s3.storageclass", "standard"),
        ("storage.s3.objectacl", "bucket-owner-full-control"),
        ("auth", {"htpasswd": {"realm": "r", "path": "/run/secrets/htpasswd"}}),
        (
            "auth",
            {"token": {"realm": "r", "issuer": "i", "service": "s", "rootcertbundle": "/b", "autoredirect": True}},
        ),
        ("middleware.registry.1", {"name": "own", "options": {"any": ["thing"]}}),
        ("middleware.storage.0", {"name": "redirect", "options": {"baseurl": "https://cdn.example.org"}}),
        (
            "middleware.storage.0",
            {"name": "cloudfront", "options": {"baseurl": "b", "privatekey": "/k", "keypairid": "i", "duration": "1h"}},
        ),
        ("http.draintimeout", "60s"),
        ("http.headers.X-Content-Type-Options", ["nosniff"]),
        ("http.tls.minimumtls", "tls1.3"),
        ("http.tls.ciphersuites", ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
        ("http.debug", {"addr": ":5001", "prometheus": {"enabled": True, "path": "/metrics"}}),
        ("http.http2.disabled", True),
        ("notifications.events.includereferences", True),
        ("notifications.endpoints.0.ignore", {"mediatypes": ["a/b"], "actions": ["pull"]}),
        ("redis.pool", {"maxidle": 16, "maxactive": 64, "idletimeout": "300s"}),
        ("health.storagedriver", {"enabled": True, "interval": "10s", "threshold": 3}),
        ("health.http.0", {"uri": "http://a", "statuscode": 200, "timeout": "3s", "interval": "10s", "threshold": 3}),
        ("health.tcp.0", {"addr": "redis:6379", "timeout": "3s"}),
        ("health.file.0", {"file": "/run/down"}),
        ("catalog.maxentries", 100),
        ("proxy.remoteurl", "https://registry-1.docker.io"),
        ("compatibility.schema1", {"signingkeyfile": "/k", "enabled": True}),
        ("validation.manifests.urls", {"allow": ["^https://"], "deny": []}),
        ("policy.repository.classes", ["image"]),
    ],
)
def test_what_distribution_reads_is_right(path: str, value: object) -> None:
    assert mistakes(placed(path, value)) == []


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("htpp", "http"),
        ("midleware", "middleware"),
        ("notification", "notifications"),
        ("log.lvel", "level"),
        ("log.accessLog", "accesslog"),
        ("log.hooks.0.option", "options"),
        ("http.relativeURLs", "relativeurls"),
        ("http.drain_timeout", "draintimeout"),
        ("http.tls.certficate", "certificate"),
        ("http.tls.minimumTLS", "minimumtls"),
        ("http.tls.letsencrypt.cacheFile", "cachefile"),
        ("http.debug.prometheus.enable", "enabled"),
        ("redis.pasword", "password"),
        ("redis.pool.max_idle", "maxidle"),
        ("health.storagedriver.treshold", "threshold"),
        ("health.http.0.statusCode", "statuscode"),
        ("notifications.endpoints.0.header", "headers"),
        ("storage.filesytem", "filesystem"),
        ("storage.delete.enable", "enabled"),
        ("storage.filesystem.rootdir", "rootdirectory"),
        ("storage.s3.secret_key", "secretkey"),
        ("storage.gcs.credentials.privatekey", "private_key"),
        ("storage.maintenance.uploadpurging.dry_run", "dryrun"),
        ("middleware.registry.0.option", "options"),
        (f"{OPTIONS}.blobTTL", "blobttl"),
        (f"{OPTIONS}.upstream", "upstreams"),
        ("middleware.storage.0.nme", "name"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_known_one(path: str, nearest: str) -> None:
    line = next(line for line in mistakes(placed(path, "x")) if "unknown key" in line)
    assert line.startswith(f"{shown(path)}: unknown key; did you mean {nearest}? (known keys: ")


@pytest.mark.parametrize(
    "path",
    [
        "http.h2c",
        "http.tls.clientauth",
        "http.tls.letsencrypt.directoryurl",
        "redis.addrs",
        "proxy.ttl",
        "storage.tag",
        "storage.cache.blobdescriptorsize",
        "storage.s3.forcepathstyle",
        "storage.azure.credentials",
        "storage.oss.encryptionkeyid",
        "storage.swift.rootdirectory",
    ],
)
def test_a_key_that_distribution_2_8_does_not_read_is_unknown(path: str) -> None:
    assert mistake(placed(path, "x")).startswith(f"{shown(path)}: unknown key")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 0.2),
        ("log.level", "trace"),
        ("log.formatter", "xml"),
        ("log.hooks.0.type", "slack"),
        ("loglevel", "notice"),
        ("storage.redirect.disable", "true"),
        ("storage.delete.enabled", "true"),
        ("storage.cache.blobdescriptor", "memcached"),
        ("storage.filesystem.maxthreads", "100"),
        ("storage.filesystem.rootdirectory", None),
        ("storage.s3.chunksize", 5 * 1024 * 1024 - 1),
        ("storage.s3.encrypt", "yes"),
        ("storage.s3.bucket", ""),
        ("storage.s3.storageclass", "GLACIER"),
        ("storage.s3.objectacl", "public"),
        ("storage.gcs.chunksize", 1000),
        ("storage.swift.chunksize", 1024),
        ("storage.swift.authversion", "3"),
        ("storage.oss.internal", 1),
        ("storage.oss.chunksize", 5 * 1024 * 1024 - 1),
        ("storage.maintenance.uploadpurging.dryrun", "false"),
        ("storage.maintenance.uploadpurging.age", 168),
        ("http.net", "udp"),
        ("http.net", "unix"),
        ("http.prefix", "/cache"),
        ("storage.gcs.keyfile", "/key.json"),
        ("http.draintimeout", 60),
        ("http.headers.X-Frame-Options", "deny"),
        ("http.tls.minimumtls", "1.2"),
        ("http.tls.clientcas", "/ca.pem"),
        ("http.tls.ciphersuites.0", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("http.http2.disabled", 0),
        ("redis.db", "0"),
        ("redis.dialtimeout", 10),
        ("health.storagedriver.interval", 10),
        ("catalog.maxentries", 1.5),
        ("middleware.registry.0.disabled", "no"),
        ("middleware.storage.0.name", 1),
        (f"{OPTIONS}.upstreams", []),
        (f"{OPTIONS}.upstreams.0", "msr.example.org"),
        (f"{OPTIONS}.upstreams.0", "https://msr.example.org/path"),
        (f"{OPTIONS}.cas.0", "dtr.cert.pem"),
    ],
)
def test_a_value_of_another_form_is_refused_where_it_stands(path: str, value: object) -> None:
    assert any(line.startswith(f"{shown(path)}: ") for line in mistakes(placed(path, value)))


@pytest.mark.parametrize("path", ["http", "redis", "storage.s3", "storage.gcs.credentials", "log.hooks.0", OPTIONS])
def test_text_in_a_maps_place_is_refused_and_not_shown(path: str) -> None:
    assert mistake(placed(path, "hunter2")) == f"{shown(path)}: expected a map, found text"


@pytest.mark.parametrize(("driver", "key"), [(driver, key) for driver, needs in DRIVERS.items() for key in needs])
def test_a_key_that_a_driver_needs_is_missed(driver: str, key: str) -> None:
    given = {other: value for other, value in DRIVERS[driver].items() if other != key}
    line = mistake(SEED | {"storage": {"delete": {"enabled": True}, driver: given}})
    assert line == f"storage.{driver}.{key}: missing; set it, because it has no default"


@pytest.mark.parametrize(
    ("drivers", "found"), [({"filesystem": {}, "inmemory": None}, "filesystem and inmemory"), ({}, "none")]
)
def test_a_config_has_exactly_one_driver(drivers: dict[str, Any], found: str) -> None:
    assert mistake(SEED | {"storage": {"delete": {"enabled": True}, **drivers}}) == (
        f"storage: found {found}; set exactly one of azure, filesystem, gcs, inmemory, oss, s3, swift"
    )


def test_an_unknown_driver_is_named() -> None:
    assert mistake(SEED | {"storage": {"delete": {"enabled": True}, "minio": {}}}) == (
        "storage.minio: unknown key "
        "(known keys: azure, cache, delete, filesystem, gcs, inmemory, maintenance, oss, redirect, s3, swift)"
    )


@pytest.mark.parametrize("delete", [{}, {"enabled": False}])
def test_blobttl_needs_delete_enabled(delete: dict[str, Any]) -> None:
    config = placed("storage.delete", delete)
    assert mistake(config) == "storage.delete.enabled: found false, expected true, because blobttl is set"
    del config["middleware"]["registry"][0]["options"]["blobttl"]
    assert mistakes(config) == []


@pytest.mark.parametrize("ttl", [24, "24"])
def test_blobttl_without_a_unit_is_refused_as_nanoseconds(ttl: object) -> None:
    line = mistake(placed(f"{OPTIONS}.blobttl", ttl))
    assert line.startswith(f"{shown(OPTIONS)}.blobttl: found {ttl!r}, which means nanoseconds without a unit")


@pytest.mark.parametrize(
    ("names", "found"),
    [([], "none"), (["downstrem"], "'downstrem'"), (["downstream", "downstream"], "'downstream' and 'downstream'")],
)
def test_a_config_has_exactly_one_downstream(names: list[str], found: str) -> None:
    options = SEED["middleware"]["registry"][0]["options"]
    line = mistake(placed("middleware.registry", [{"name": name, "options": options} for name in names]))
    assert line.startswith(f"middleware.registry: found {found}, expected exactly one named downstream")


def test_a_cache_in_redis_needs_redis() -> None:
    config = placed("storage.cache.blobdescriptor", "redis")
    assert mistake(config) == "redis.addr: missing; set it, because storage.cache.blobdescriptor is redis"
    assert mistakes(config | {"redis": {"addr": "redis:6379"}}) == []


def test_an_upload_purging_is_given_whole() -> None:
    line = mistake(placed("storage.maintenance.uploadpurging", {"enabled": True, "age": "168h"}))
    assert line.startswith("storage.maintenance.uploadpurging: found no interval, dryrun, ")


@pytest.mark.parametrize(
    "kinds", [{}, {"silly": {"realm": "r", "service": "s"}, "htpasswd": {"realm": "r", "path": "p"}}]
)
def test_auth_is_of_exactly_one_kind(kinds: dict[str, Any]) -> None:
    assert mistake(SEED | {"auth": kinds}).endswith("set exactly one of htpasswd, silly, token")


@pytest.mark.parametrize(
    ("http", "absent"),
    [
        ({}, "certificate and no key"),
        ({"tls": {}}, "certificate and no key"),
        ({"tls": {"certificate": "", "key": "k"}}, "certificate"),
        ({"tls": {"certificate": "c"}}, "key"),
        ({"tls": {"minimumtls": "tls1.2", "letsencrypt": {"email": "a@b"}}}, "certificate and no key"),
    ],
)
def test_plain_http_behind_the_caches_https_url_is_refused(http: dict[str, Any], absent: str) -> None:
    assert (
        mistake(SEED | {"http": http})
        == f"http.tls: found no {absent}, expected both, because the cache's URL is https"
    )


def test_a_key_file_that_no_container_has_is_refused_with_what_takes_its_place() -> None:
    assert mistake(placed("storage.gcs.keyfile", "/key.json")) == (
        "storage.gcs.keyfile: found '/key.json', expected credentials in its place, because no container has the file"
    )


def test_a_certificate_and_lets_encrypt_exclude_each_other() -> None:
    config = placed("http.tls.letsencrypt.cachefile", "/le")
    assert mistake(config).startswith("http.tls: found certificate and letsencrypt.cachefile")
    del config["http"]["tls"]["certificate"]
    assert mistakes(config) == []


@pytest.mark.parametrize("path", SECRETS)
def test_a_secret_of_another_form_is_refused_and_not_shown(path: str) -> None:
    found = mistakes(placed(path, 13371337))
    assert f"{shown(path)}: expected text, found a number" in found
    assert "13371337" not in "".join(found)


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize("value", ["hunter2", 1337, ["hunter2"], {"inner": {"deep": "hunter2"}}])
def test_a_secret_of_any_form_is_masked(path: str, value: object) -> None:
    text = str(mask_secrets(placed(path, value)))
    assert "hunter2" not in text
    assert "1337" not in text


def test_an_unknown_middlewares_options_are_masked() -> None:
    config = placed("middleware.registry.1", {"name": "own", "options": {"token": "hunter2"}})
    assert mask_secrets(config)["middleware"]["registry"][1] == {"name": "own", "options": MASK}


def test_nothing_but_secrets_is_masked() -> None:
    config = deepcopy(SEED)
    assert mask_secrets(config) == SEED | {"http": SEED["http"] | {"secret": MASK}}
    assert config == SEED, "the config itself keeps them"


@pytest.mark.parametrize(
    "given",
    [{"endpoints": {"headers": {"Authorization": ["hunter2"]}}}, {"endpoints": [[{"headers": "hunter2"}]]}],
)
def test_secrets_are_masked_where_a_list_is_missing_or_doubled(given: dict[str, Any]) -> None:
    assert "hunter2" not in str(mask_secrets({"notifications": given}))


def test_what_is_wrong_is_masked_too_because_it_may_be_a_secret() -> None:
    config = {"own": {"password": "p"}, "http": {"sekret": "hunter2", "net": "tcp"}, "redis": "hunter2"}
    assert mask_secrets(config) == {"own": MASK, "http": {"sekret": MASK, "net": "tcp"}, "redis": MASK}


def parts(schema: Any) -> list[dict[str, Any]]:
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    return [*([schema] if isinstance(schema, dict) else []), *(part for each in inner for part in parts(each))]


def test_the_schema_checks_every_key_and_knows_every_format() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    maps = [part for part in parts(SCHEMA) if "object" in part.get("type", ()) and part != {"type": "object"}]
    assert all("additionalProperties" in part for part in maps)
    formats = [part for part in parts(SCHEMA) if isinstance(part.get("format"), str)]
    assert {part["format"] for part in formats} == set(registry_schema._FORMATS)
    assert not any("writeOnly" in part for part in formats), "a format's error shows the value"
    limits = {"pattern", "minimum", "maximum", "exclusiveMinimum", "multipleOf"}
    assert all("description" in part for part in parts(SCHEMA) if limits & part.keys()), "the error needs it"
