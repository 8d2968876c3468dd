"""A secret that stands in the stack's file in plain text is refused at its path, whatever else is encrypted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest

from msr_cache.config import plain_text
from msr_cache.config.errors import dotted
from msr_cache.config.registry_schema import SCHEMA, mask_secrets
from tests.msr_cache.conftest import PROJECT, with_changes

SECURE = {"secure": "v1:abc:def"}
"""What the stack's file has in the place of an encrypted value."""
CREDENTIALS = "https://ops:hunter2@hooks.example.com/a"


def schema_paths(schema: Mapping[str, Any], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each text that the schema marks as a secret, with index 0 in lists."""
    if "$ref" in schema:
        schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    if schema.get("type") == "string" and (schema.get("writeOnly") or "then" in schema):
        yield path
    for key, inner in schema.get("properties", {}).items():
        yield from schema_paths(inner, (*path, key))
    for inner in schema.get("patternProperties", {}).values():
        yield from schema_paths(inner, (*path, "Authorization"))
    if "items" in schema:
        yield from schema_paths(schema["items"], (*path, 0))


MARKED = sorted({dotted(path): path for path in schema_paths(SCHEMA)}.items())
IN_A_CACHE = [
    (*above, *path) for _, path in MARKED for above in ((), ("registryConfig",)) if above or path[0] == "storage"
]
PASSWORDS = [(f"{at}", "hunter2") for at in ("msr.password", "msr.token", "imageRegistries.localhost:5000.password")]
KEYS = [("localCa.key", "-----BEGIN PRIVATE KEY-----"), (".tls.key", "-----BEGIN EC PRIVATE KEY-----")]


def nested(path: tuple[str | int, ...], value: Any) -> Any:
    for part in reversed(path):
        value = [value] if isinstance(part, int) else {part: value}
    return value


def lines(raw: Mapping[str, Any], file: Mapping[str, Any] | None = None) -> list[str]:
    in_file = {f"{PROJECT}:{key}": value for key, value in (file or {}).items()}
    return [each.line(PROJECT) for each in plain_text.mistakes(raw, in_file, PROJECT)]


def at(path: str) -> str:
    return f"{PROJECT}:caches.asia{path}" if path.startswith(".") else f"{PROJECT}:{path}"


def test_the_schema_marks_the_secrets_that_this_file_is_about() -> None:
    assert {
        "http.secret",
        "redis.password",
        "storage.s3.secretkey",
        "storage.gcs.credentials.private_key",
        "notifications.endpoints[0].url",
        "notifications.endpoints[0].headers.Authorization[0]",
        "health.http[0].uri",
        "proxy.password",
    } <= dict(MARKED).keys()


@pytest.mark.parametrize("path", IN_A_CACHE, ids=map(dotted, IN_A_CACHE))
def test_every_secret_of_config_yml_in_plain_text_is_refused_at_its_path(path: tuple[str | int, ...]) -> None:
    key = at(f".{dotted(path)}")
    assert lines(with_changes({f".{path[0]}": nested(path[1:], CREDENTIALS)})) == [
        f"{key}: found a secret in plain text, expected an encrypted one: pulumi config set --path --secret '{key}'"
    ]


@pytest.mark.parametrize(("path", "value"), PASSWORDS)
def test_a_password_in_plain_text_is_refused_at_its_path(path: str, value: str) -> None:
    (line,) = lines(with_changes({path: value}))
    assert line.startswith(f"{at(path)}: found a secret in plain text")
    assert "hunter2" not in line


@pytest.mark.parametrize(("path", "value"), KEYS)
def test_a_key_in_plain_text_is_refused_with_the_command_that_hides_it(path: str, value: str) -> None:
    (line,) = lines(with_changes({path: value}))
    assert line.startswith(f"{at(path)}: found a private key in plain text")
    assert line.endswith(f"pulumi config set --path --secret '{at(path)}' < FILE")


@pytest.mark.parametrize(("path", "value"), [*PASSWORDS, *KEYS, (".storage", {"s3": {"secretkey": "hunter2"}})])
@pytest.mark.usefixtures("secret_config")
def test_one_encrypted_value_hides_no_other_that_is_in_plain_text(path: str, value: object) -> None:
    """The engine says of a whole section that there is a secret in it."""
    changes = {path: value, ".registryConfig": {"redis": {"password": "decrypted"}}}
    in_file = {**changes, ".registryConfig": {"redis": {"password": SECURE}}}
    (line,) = lines(with_changes(changes), with_changes(in_file))
    assert line.startswith(at(path))


@pytest.mark.usefixtures("secret_config")
def test_what_the_stacks_file_has_encrypted_is_taken_at_any_depth() -> None:
    def config(secret: object) -> dict[str, Any]:
        headers = {"Authorization": [secret], "Accept": ["text/plain"]}
        endpoints = [{"url": "https://hooks.example.com", "headers": headers}, {"url": secret}]
        return with_changes({".registryConfig": {"notifications": {"endpoints": endpoints}}, "msr.token": secret})

    assert lines(config("a?secret"), config(SECURE)) == []
    assert lines(config("a?secret"), {"caches": SECURE, "msr": SECURE}) == []
    assert len(lines(config("a?secret"), config("a?secret"))) == 3


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        (CREDENTIALS, True),
        ("https://token@hooks.example.com", True),
        ("https://hooks.example.com/a?token=hunter2", True),
        ("https://hooks.example.com/a", False),
        ("http://10.0.0.1:8080/", False),
    ],
)
def test_a_url_is_a_secret_if_it_may_hold_a_password_or_a_token(url: str, secret: bool) -> None:
    config = {"notifications": {"endpoints": [{"url": url}]}}
    assert bool(lines(with_changes({".registryConfig": config}))) == secret
    assert mask_secrets(config) == ({"notifications": {"endpoints": [{"url": "[secret]"}]}} if secret else config)


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("HTTPS_PROXY", "http://ops:hunter2@proxy:3128", True),
        ("HTTPS_PROXY", "ops:hunter2@proxy:3128", True),
        ("HTTPS_PROXY", "http://hunter2@proxy:3128", True),
        ("AWS_SECRET_ACCESS_KEY", "hunter2", True),
        ("HTTPS_PROXY", "http://proxy:3128", False),
        ("NO_PROXY", "10.0.0.0/8,.example.com", False),
        ("CONTACT", "ops@example.com", False),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/secrets/token", False),
    ],
)
def test_a_variable_is_a_secret_if_it_has_a_login_in_a_url_or_the_name_of_one(
    key: str, value: str, secret: bool
) -> None:
    command = f"pulumi config set --path --secret '{at(f'.environment.{key}')}'"
    line = f"{at(f'.environment.{key}')}: found a secret in plain text, expected an encrypted one: {command}"
    assert lines(with_changes({".environment": {key: value}})) == [line] * secret


@pytest.mark.parametrize(
    "cache",
    [
        None,
        "text",
        {"environment": "text"},
        {"environment": {"A": 1}},
        {"storage": "text"},
        {"registryConfig": [1]},
        {"tls": "text"},
        {"tls": {"key": "certs/key.pem"}},
    ],
)
def test_what_has_another_form_holds_no_secret(cache: object) -> None:
    assert lines({"msr": None, "localCa": 1, "caches": {"asia": cache}}) == []
    assert lines({"caches": cache}) == []


# The stack's file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of Pulumi.yaml to a program that runs for stack prod."""
    monkeypatch.setattr(pulumi, "get_root_directory", lambda: str(tmp_path))
    monkeypatch.setattr(pulumi, "get_stack", lambda: "prod")
    return tmp_path


def test_the_stacks_file_is_beside_pulumi_yaml(folder: Path) -> None:
    (folder / "Pulumi.prod.yaml").write_text("encryptionsalt: v1\nconfig:\n  msr-cache:msr:\n    token: {secure: v1}\n")
    assert plain_text.stack_file() == {"msr-cache:msr": {"token": {"secure": "v1"}}}


@pytest.mark.parametrize("content", [None, b"", b"text", b"config: [", b"config: 1", b"\xff\xfe\xff", b"a: &a [*a]"])
def test_a_file_that_is_elsewhere_or_damaged_is_none(folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / "Pulumi.prod.yaml").write_bytes(content)
    assert plain_text.stack_file() == {}
