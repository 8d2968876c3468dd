"""A login is found by the registry in an image's name, in the config or in a file of docker's client."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from msr_cache.config.image_registries import header, login, registry_of
from tests.msr_cache.conftest import message, mistakes

HOST = "registry.corp.example.com:5000"
ENTRY = {"username": "d", "password": "hunter2?>~"}
AUTH = b64encode(b"deploy:hunter2:3").decode()
KEY = f'msr-cache:imageRegistries["{HOST}"]'


@pytest.fixture
def config_json(tmp_path: Path) -> Path:
    """Give a file as `docker login` writes it."""
    file = tmp_path / "config.json"
    auths = {HOST: {"auth": AUTH}, "https://index.docker.io/v1/": {"auth": AUTH}, "kept.example.com": {}}
    file.write_text(json.dumps({"auths": auths}))
    return file


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("mirantis/dtr-content-cache:2.9.0", "docker.io"),
        ("cache:2.9.0", "docker.io"),
        ("docker.io/mirantis/cache:1", "docker.io"),
        ("localhost/cache:1", "localhost"),
        ("registry:5000/cache@sha256:0a", "registry:5000"),
        ("registry.mirantis.com/msr/msr-content-cache:3.1.0", "registry.mirantis.com"),
    ],
)
def test_the_registry_in_an_images_name_is_the_one_that_dockers_client_asks(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_the_engine_is_given_the_login_of_the_images_registry_and_no_other() -> None:
    """Engine API, X-Registry-Auth: base64url."""
    sent = header({HOST: ENTRY, "docker.io": {}}, f"{HOST}/cache:1")["X-Registry-Auth"]
    assert json.loads(urlsafe_b64decode(sent)) == {**ENTRY, "serveraddress": HOST}
    assert header({HOST: ENTRY}, "cache:1") == {}


@pytest.mark.parametrize("image", [f"{HOST}/cache:1", "mirantis/cache:1"])
def test_a_file_of_dockers_client_holds_a_login_for_each_registry(config_json: Path, image: str) -> None:
    assert login({registry_of(image): {"configFile": str(config_json)}}, image) == ("deploy", "hunter2:3")


@pytest.mark.parametrize(
    "content", [None, "", "{}", '{"auths": {"a": {"auth": "%"}}}', '{"auths": {"a": {"auth": "b25seTo="}}}']
)
def test_a_file_without_the_login_is_refused_at_its_key(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content.replace('"a"', f'"{HOST}"'))
    registries = {HOST: {"configFile": str(file)}}
    line = message(lambda: login(registries, f"{HOST}/cache:1"))
    assert line.startswith(f"{KEY}.configFile: found no login for {HOST} in '{file}'"[:80])
    assert mistakes({"imageRegistries": registries}) == [line], "before anything changes, too"


def test_a_file_where_a_helper_keeps_the_login_says_what_to_do(config_json: Path) -> None:
    (line,) = mistakes({"imageRegistries": {"kept.example.com": {"configFile": str(config_json)}}})
    assert "credential helper" in line
    assert "set username and password" in line


FORM = "host[:port] as an image's name begins with it, or docker.io"
ONE_LOGIN = "set username and password, or configFile"


@pytest.mark.usefixtures("secret_config")
@pytest.mark.parametrize(
    ("registries", "line"),
    [
        ({HOST: {}}, f"{KEY}: found none; {ONE_LOGIN}"),
        ({HOST: {"username": "deploy"}}, f"{KEY}: found username; {ONE_LOGIN}"),
        ({HOST: {**ENTRY, "configFile": "c"}}, f"{KEY}: found username and password and configFile; {ONE_LOGIN}"),
        ({HOST: {**ENTRY, "username": ""}}, f"{KEY}.username: must not be empty"),
        ({HOST: {"configFile": ""}}, f"{KEY}.configFile: must not be empty"),
        ({HOST: {**ENTRY, "password": 7}}, f"{KEY}.password: expected text that is not empty, found a number"),
        (
            {HOST: {"user": "deploy"}},
            f"{KEY}.user: unknown key; did you mean username? (known keys: configFile, password, username)",
        ),
        (
            {"https://registry": ENTRY},
            f"msr-cache:imageRegistries.https://registry: found 'https://registry', expected {FORM}",
        ),
    ],
)
def test_a_wrong_entry_is_one_line_at_its_key(registries: Any, line: str) -> None:
    assert mistakes({"imageRegistries": registries}) == [line]
