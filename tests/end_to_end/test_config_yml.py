"""config.yml is a swarm secret: nobody who may list configs reads http.secret or a storage key in it."""

from __future__ import annotations

import pytest
import yaml

from tests.end_to_end.stack import CACHE, CHECKOUT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

FORMER = """
from msr_cache import files, service
from msr_cache.resources.swarm_file import ConfigProvider, SwarmSecret

class SwarmConfig(SwarmSecret, provider=ConfigProvider):
    name: pulumi.Output[str]

def file(name, props, opts):
    return (SwarmConfig if name.endswith("config.yml-file") else SwarmSecret)(name, props, opts)

def container(image, files, *more):
    config = files.pop("/config.yml")
    of = {"config_id": config.id, "config_name": config.name, "file_name": "config.yml", **service._FILE}
    return {**current(image, files, *more), "configs": [of]}

files.SwarmSecret = file
current, service._container = service._container, container
"""
"""Makes the program one of a version that kept config.yml in a swarm config."""


def use_former_program(stack: Stack, *, former: bool) -> None:
    main = (CHECKOUT / "__main__.py").read_text()
    (stack.folder / "__main__.py").unlink()
    (stack.folder / "__main__.py").write_text(
        main.replace("\nend_quietly", f"\n{FORMER}end_quietly") if former else main
    )


def config_in(swarm: Swarm) -> str:
    return swarm.docker("exec", swarm.container(f"{CACHE}_cache"), "cat", "/config.yml")


def test_the_swarm_config_of_an_earlier_version_becomes_a_secret_and_is_gone(stack: Stack, swarm: Swarm) -> None:
    use_former_program(stack, former=True)
    stack.deploy()
    assert len(swarm.names("config")) == 1
    before = config_in(swarm)
    use_former_program(stack, former=False)
    stack.deploy()
    assert swarm.names("config") == set()
    assert [name for name in swarm.names("secret") if name.startswith(f"{CACHE}_config.yml-")]
    assert config_in(swarm) == before
    assert stack.pull().blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))


def test_a_secret_in_plain_text_is_refused_at_its_key_though_another_is_encrypted(deployed: Stack) -> None:
    s3 = {"region": "eu", "bucket": "b", "accesskey": "an-id", "secretkey": "canary-of-s3"}
    deployed.configure({"storage": {"s3": s3}, "registryConfig": {"redis": {"addr": "redis:6379"}}})
    deployed.set_secret(f"msr-cache:caches.{CACHE}.registryConfig.redis.password", "canary-of-redis")
    deployed.set_secret(f"msr-cache:caches.{CACHE}.storage.s3.accesskey", "canary-of-the-id")
    run = deployed.preview()
    assert not run.ok
    key = f"msr-cache:caches.{CACHE}.storage.s3.secretkey"
    assert f"{key}: found a secret in plain text, expected an encrypted one" in run.text
    assert run.text.count("in plain text") == 1
    deployed.set_secret(key, "canary-of-s3")
    deployed.must(deployed.preview())


def test_a_secret_of_the_operators_own_in_config_yml_comes_and_goes(deployed: Stack, swarm: Swarm) -> None:
    generated = config_in(swarm)
    deployed.set_secret(f"msr-cache:caches.{CACHE}.registryConfig.http.secret", "canary-of-the-operators")
    deployed.set_secret(f"msr-cache:caches.{CACHE}.registryConfig.redis.password", "canary-of-redis")
    deployed.deploy()
    config = yaml.safe_load(config_in(swarm))
    assert (config["http"]["secret"], config["redis"]["password"]) == ("canary-of-the-operators", "canary-of-redis")
    assert deployed.pull().blobs
    deployed.configure()
    deployed.deploy()
    assert config_in(swarm) == generated
    assert deployed.pull().blobs
    assert swarm.names("config") == set()


def test_a_registry_that_does_not_start_with_a_storage_key_shows_it_nowhere(deployed: Stack) -> None:
    """Its own log is in the error; the stack ends with a search for all secrets that were given."""
    registry = {"notifications": {"endpoints": [{"name": "hook", "timeout": "1s", "threshold": 1, "backoff": "1s"}]}}
    deployed.configure({"storage": {"s3": {"region": "nowhere", "bucket": "b"}}, "registryConfig": registry})
    at = f"msr-cache:caches.{CACHE}"
    deployed.set_secret(f"{at}.storage.s3.accesskey", "canary-of-the-id")
    deployed.set_secret(f"{at}.storage.s3.secretkey", "canary-of-s3")
    deployed.set_secret(f"{at}.registryConfig.notifications.endpoints[0].url", "https://ops:canary-of-a-url@192.0.2.1/")
    deployed.given.add("canary-of-a-url")
    deployed.must(deployed.preview())
    run = deployed.up()
    assert not run.ok
    assert "a trial task of the new settings did not run" in run.text
    assert "nowhere" in run.text
