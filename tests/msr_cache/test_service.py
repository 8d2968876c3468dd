"""The service is the seed's docker-stack.yaml, and every field that the daemon would fill in is stated."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest
import yaml
from pulumi.runtime import config

from msr_cache import moves, service
from msr_cache.files import Files
from msr_cache.refusal import Refusal
from msr_cache.resources.image import Image
from msr_cache.rollout import trial
from msr_cache.service import service_args
from msr_cache.swarm.ownership import Owner
from tests.msr_cache.conftest import declared, listing, node, plain, settings_with, task, visible
from tests.msr_cache.engine import Engine
from tests.seed import STACK_YAML

SEED = yaml.safe_load(STACK_YAML)["services"]["cache"]
OWNER = Owner("msr-cache", "prod", "asia", "a0b1c2d3e4f5")
FILES = ("/config.yml", *SEED["secrets"])


def args(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    def file(part: str) -> SimpleNamespace:
        return SimpleNamespace(id=f"id-of-{part}", name=f"asia_{part}-0123456789")

    image = SimpleNamespace(reference="cache:1@sha256:0a", platforms=[{"architecture": "amd64", "os": "linux"}])
    files = {path: file(path.removeprefix("/")) for path in FILES}
    return service_args(settings_with(changes), "asia", OWNER, cast("Image", image), cast("Files", files))


def test_the_digest_of_the_arguments_is_what_earlier_versions_have_in_their_states() -> None:
    """They took it from the SDK's json_dumps. Another one would be an update of each rollout."""

    async def digests() -> tuple[str | None, str]:
        nested = [pulumi.Output.from_input({"b": 1, "a": None}), {"z": pulumi.Output.secret("\u00e9"), "y": 2.5}]
        found = {"nested": nested, "first": pulumi.Output.from_input(["x"]), "plain": [True, {"k": "v"}]}
        dumped = await pulumi.Output.json_dumps(found, sort_keys=True).future()
        return await service._sha256(found).future(), hashlib.sha256((dumped or "").encode()).hexdigest()

    ours, theirs = asyncio.run(digests())
    assert ours == theirs


def test_name_entrypoint_replicas_and_constraint_are_as_docker_stack_deploy_has_the_seeds() -> None:
    assert args()["name"] == "asia_cache"
    task = args()["task_spec"]
    deploy = SEED["deploy"]
    # An entrypoint of a compose file is the Engine API's Command (docker/cli, convert/service.go).
    assert task["container_spec"]["commands"] == SEED["entrypoint"]
    assert args()["mode"] == {"replicated": {"replicas": deploy["replicas"]}}
    assert task["placement"]["constraints"] == deploy["placement"]["constraints"]


def test_the_port_is_the_seeds() -> None:
    endpoint = args()["endpoint_spec"]
    (port,) = endpoint["ports"]
    assert f"{port['published_port']}:{port['target_port']}" == SEED["ports"][0]
    assert (port["protocol"], port["publish_mode"], endpoint["mode"]) == ("tcp", "ingress", "vip")


def test_files_are_mounted_where_the_seed_has_them_and_readable_by_all_in_the_container() -> None:
    """Compose's short syntax: the name alone, below / for a config, /run/secrets for a secret; mode 0444, root's.

    config.yml is a secret here, which is mounted below / by a path of its own.
    """
    container = args()["task_spec"]["container_spec"]
    rights = {"file_uid": "0", "file_gid": "0", "file_mode": 0o444}
    assert "configs" not in container
    assert container["secrets"] == [
        {"secret_id": f"id-of-{name}", "secret_name": f"asia_{name}-0123456789", "file_name": path, **rights}
        for path, name in zip(FILES, (*SEED["configs"], *SEED["secrets"]), strict=True)
    ]


def test_the_image_runs_by_digest_on_its_own_platforms() -> None:
    task = args()["task_spec"]
    assert task["container_spec"]["image"] == "cache:1@sha256:0a"
    assert task["placement"]["platforms"] == [{"architecture": "amd64", "os": "linux"}]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_task_is_healthy_while_its_port_is_open_and_not_before_or_after(address: str) -> None:
    """By the shell that Docker's CMD-SHELL takes, in whose network namespace the port is."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        kind, command = args({".port": port})["task_spec"]["container_spec"]["healthcheck"]["tests"]
        assert kind == "CMD-SHELL"

        def is_healthy() -> bool:
            return subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False).returncode == 0

        assert not is_healthy()
        listener.listen()
        assert is_healthy()
    assert not is_healthy()


def test_ownership_labels_are_on_the_service_and_not_on_its_tasks() -> None:
    """On the task template a changed label would restart tasks for nothing."""
    assert {entry["label"]: entry["value"] for entry in args()["labels"]} == OWNER.labels("service")
    assert "labels" not in args()["task_spec"]["container_spec"]


PROXY = "http://proxy.example.com:3128"
LOGIN = "http://ops:hunter2@proxy.example.com:3128"


def test_the_environment_is_the_containers_and_shown_in_previews_where_it_is_plain() -> None:
    program = declared({".environment": {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}})
    wanted = {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}
    assert visible(program.one("CacheSettings").inputs)["environment"] == wanted
    assert visible(program.one("Service").inputs)["taskSpec"]["containerSpec"]["env"] == wanted
    assert not [text for text in program.warnings if "environment" in text]


@pytest.mark.usefixtures("secret_config")
def test_an_encrypted_variable_is_a_secret_all_the_way_and_docker_service_inspect_is_warned_of() -> None:
    program = declared({".environment": {"HTTPS_PROXY": LOGIN, "NO_PROXY": ".example.com"}})
    shown = [visible(each.inputs) for each in program.resources]
    assert "hunter2" not in str((shown, program.visible_outputs, program.warnings))
    assert plain(program.one("Service").inputs)["taskSpec"]["containerSpec"]["env"]["HTTPS_PROXY"] == LOGIN
    # Its hash would let a password be guessed.
    assert {visible(program.one(kind).inputs)["specSha256"] for kind in ("Rollout",)} == {"[secret]"}
    (warning,) = [text for text in program.warnings if "environment" in text]
    assert warning.startswith("msr-cache:caches.asia.environment: HTTPS_PROXY: everybody who can run")
    assert "docker service inspect" in warning


def test_a_variable_that_is_encrypted_in_the_defaults_of_all_caches_is_a_secret_too() -> None:
    token = config._SECRET_KEYS.set({"msr-cache:cacheDefaults"})
    program = declared({"cacheDefaults": {"environment": {"HTTPS_PROXY": LOGIN}}})
    config._SECRET_KEYS.reset(token)
    assert plain(program.one("Service").inputs)["taskSpec"]["containerSpec"]["env"] == {"HTTPS_PROXY": LOGIN}
    assert "hunter2" not in str([visible(each.inputs) for each in program.resources])


def test_a_trial_knows_the_environment_that_the_state_holds_as_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK hands a hook the whole of such a property as an Output."""
    seen: list[Any] = []
    monkeypatch.setattr(trial, "before_update", lambda _, args, **__: seen.append(args.new_inputs))
    inputs = {"name": "asia_cache", "taskSpec": {"env": {"HTTPS_PROXY": LOGIN}}}

    async def run() -> None:
        args = pulumi.ResourceHookArgs("urn", "id", "asia", "type")
        args.new_inputs = {**inputs, "taskSpec": pulumi.Output.secret(inputs["taskSpec"])}
        await declared().hooks["asia-trial"].callback(args)

    asyncio.run(run())
    assert seen == [inputs]


CORP = {"username": "deploy", "password": "hunter2-of-corp"}


@pytest.mark.usefixtures("secret_config")
@pytest.mark.parametrize(
    ("image", "host", "start"),
    [
        ("registry.corp.example.com:5000/msr/cache:2.9.0", "registry.corp.example.com:5000", None),
        # Not docker.io: the provider knows no default registry.
        ("mirantis/dtr-content-cache:2.9.0", "docker.io", "mirantis"),
    ],
)
def test_the_provider_gets_the_login_under_what_stands_before_the_images_first_slash(
    image: str, host: str, start: str | None
) -> None:
    """kreuzwerker/terraform-provider-docker issue 77; not in plain text (pulumi-docker issue 643)."""
    program = declared({".image": image, "imageRegistries": {host: CORP, "other.example.com": CORP}})
    (provider,) = [each for each in program.resources if each.type == "pulumi:providers:docker"]
    (login,) = json.loads(plain(provider.inputs)["registryAuth"])
    assert login == {"address": start or host, **CORP}
    shown = [visible(each.inputs) for each in program.resources]
    assert CORP["password"] not in str((shown, program.visible_outputs, program.warnings))


@pytest.mark.usefixtures("secret_config")
def test_a_changed_login_changes_a_label_of_the_service_and_nothing_of_its_tasks() -> None:
    """Only an update hands it to the swarm, for nodes that join later."""

    def service_with(password: str) -> dict[str, Any]:
        login = {"username": "deploy", "password": password}
        program = declared({".image": "r:5000/c:2.9.0", "imageRegistries": {"r:5000": login}})
        return dict(visible(program.one("Service").inputs))

    one, other = service_with("hunter2"), service_with("hunter3")
    assert one["labels"] != other["labels"]
    assert one["taskSpec"] == other["taskSpec"]
    assert {each["label"] for each in one["labels"]} - OWNER.labels("service").keys() == {"msr-cache.login"}
    assert "registryAuth" not in next(each for each in declared().resources if each.type.endswith(":docker")).inputs


@pytest.mark.parametrize(("mode", "order"), [("ingress", "start-first"), ("host", "stop-first")])
def test_a_failed_update_is_rolled_back_and_a_failed_rollback_stops(mode: str, order: str) -> None:
    found = args({".publishMode": mode, ".update.monitor": "20s"})
    update, rollback = found["update_config"], found["rollback_config"]
    assert (update["failure_action"], rollback["failure_action"]) == ("rollback", "pause")
    assert update["order"] == rollback["order"] == order
    assert update["monitor"] == rollback["monitor"] == "20s"
    (port,) = found["endpoint_spec"]["ports"]
    assert port["publish_mode"] == mode


def test_another_port_label_and_number_of_replicas_reach_their_places() -> None:
    found = args(
        {".port": 8443, ".externalPort": 443, ".label": "rack.cache", ".replicas": 0, ".maxReplicasPerNode": 3}
    )
    (port,) = found["endpoint_spec"]["ports"]
    assert (port["published_port"], port["target_port"]) == (8443, 8443)
    assert found["task_spec"]["placement"]["constraints"] == ["node.labels.rack.cache == true"]
    assert found["mode"] == {"replicated": {"replicas": 0}}
    assert found["task_spec"]["placement"]["max_replicas"] == 3


def test_msr_3_is_placed_by_its_own_label() -> None:
    assert args({"msr.version": "3.1"})["task_spec"]["placement"]["constraints"] == ["node.labels.msr.cache == true"]


@pytest.mark.parametrize(
    ("amount", "nano_cpus", "memory_bytes"),
    [
        ({}, 0, 0),
        ({"cpus": 1}, 1_000_000_000, 0),
        ({"cpus": 0.3}, 300_000_000, 0),
        ({"cpus": "1.5"}, 1_500_000_000, 0),
        ({"memory": "8192k"}, 0, 8_388_608),
        ({"memory": "512m"}, 0, 536_870_912),
        ({"memory": "2g", "cpus": 2}, 2_000_000_000, 2_147_483_648),
    ],
)
def test_resources_are_told_in_the_engines_units(amount: dict[str, Any], nano_cpus: int, memory_bytes: int) -> None:
    """Engine API: NanoCPUs in 1e-9 CPUs, MemoryBytes in bytes; docker's k, m and g are powers of 1024."""
    resources = args({".resources.limits": amount})["task_spec"]["resources"]
    assert resources["limits"] == {"nano_cpus": nano_cpus, "memory_bytes": memory_bytes}
    assert resources["reservation"] == {"nano_cpus": 0, "memory_bytes": 0}
    reserved = args({".resources.reservations": amount})["task_spec"]["resources"]["reservation"]
    assert reserved == {"nano_cpus": nano_cpus, "memory_bytes": memory_bytes}


def test_a_task_has_time_to_finish_and_tasks_are_replaced_one_by_one() -> None:
    """The providers' defaults are 0, which cuts pulls off, and replaces all at once.

    The seed restarts on failure only, but the registry ends with 0 when a reboot stops it (moby issue 45788).
    """
    found = args()
    container = found["task_spec"]["container_spec"]
    assert container["stop_grace_period"] == "10s"
    assert {**container["healthcheck"], "tests": ""} == {
        "tests": "",
        "interval": "2s",
        "timeout": "10s",
        "retries": 30,
        "start_period": "0s",
    }
    restart = {"condition": "any", "delay": "5s", "max_attempts": 0, "window": "0s"}
    assert found["task_spec"]["restart_policy"] == restart
    for update in (found["update_config"], found["rollback_config"]):
        assert (update["parallelism"], update["delay"], update["max_failure_ratio"]) == (1, "0s", "0.0")


def test_what_the_daemon_would_fill_in_is_stated() -> None:
    """Unset, each of these comes back with a default and is proposed as a change at every preview."""
    task = args()["task_spec"]
    container = task["container_spec"]
    assert (container["env"], container["sysctl"], container["isolation"]) == ({}, {}, "default")
    assert (task["force_update"], task["runtime"]) == (0, "container")
    assert (container["mounts"], task["placement"]["max_replicas"]) == ([], 0)


@pytest.mark.parametrize(("port", "listed"), [(80, "0050"), (443, "01BB"), (5000, "1388"), (65535, "FFFF")])
def test_the_port_is_looked_for_as_the_kernel_lists_it(port: int, listed: str) -> None:
    """proc(5): the local address of /proc/net/tcp ends in four hexadecimal digits."""
    _, command = args({".port": port})["task_spec"]["container_spec"]["healthcheck"]["tests"]
    assert f"= {listed}0A ]" in command


# Hooks: what happens in the swarm before the provider touches the service

MINE = plain(declared().one("Service").inputs)


def hook(monkeypatch: pytest.MonkeyPatch, name: str, swarm: Engine, changes: dict[str, Any] | None = None) -> None:
    """Run a hook of cache asia's as the engine does."""
    for module in (service, moves):
        monkeypatch.setattr(module, "Manager", lambda _: swarm.manager)
    monkeypatch.setattr(pulumi, "get_project", lambda: OWNER.project)
    monkeypatch.setattr(pulumi, "get_stack", lambda: OWNER.stack)
    # A swarm without services, because the program refuses another's before it declares the hooks.
    found = declared(changes, listing(*swarm.kinds["nodes"].values())).hooks[f"asia-{name}"]
    assert isinstance(found, pulumi.ResourceHook)
    inputs = {**MINE, "service": "service-1"}
    args = pulumi.ResourceHookArgs("urn", "service-1", "asia", "type", inputs, MINE, None, MINE)

    async def run() -> None:
        await found.callback(args)

    asyncio.run(run())


@pytest.mark.parametrize("dry_run", [True, False])
def test_our_own_service_of_which_no_state_knows_makes_room_for_another(
    monkeypatch: pytest.MonkeyPatch, swarm: Engine, warned: list[str], dry_run: bool
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: dry_run)
    swarm.service["Spec"]["Labels"] = OWNER.labels("service")
    hook(monkeypatch, "refuse-foreign", swarm)
    assert swarm.names() == ({"asia_cache"} if dry_run else set())
    assert [text.partition(":")[0] for text in warned] == (
        ["service asia_cache exists, but the state does not know it"] if dry_run else []
    )


def test_anothers_service_and_an_image_that_would_be_pinned_are_refused_before_a_create(
    monkeypatch: pytest.MonkeyPatch, swarm: Engine
) -> None:
    with pytest.raises(Refusal, match="service asia_cache already exists and belongs to an owner that"):
        hook(monkeypatch, "refuse-foreign", swarm)
    swarm.kinds["services"].clear()
    hook(monkeypatch, "refuse-foreign", swarm, {".resolveImage": False})
    swarm.registry = {"Descriptor": {"digest": f"sha256:{'0' * 64}"}}
    hook(monkeypatch, "refuse-foreign", swarm)
    with pytest.raises(Refusal, match=r"^msr-cache:caches\.asia\.resolveImage: found false, expected true"):
        hook(monkeypatch, "refuse-foreign", swarm, {".resolveImage": False})


def test_the_rollouts_hook_waits_until_the_service_runs(monkeypatch: pytest.MonkeyPatch, swarm: Engine) -> None:
    swarm.then(7, [task("a", "running")])
    hook(monkeypatch, "wait", swarm)
    assert 7 <= swarm.seconds < 8


def test_an_update_of_anothers_service_is_refused_by_its_hook(monkeypatch: pytest.MonkeyPatch, swarm: Engine) -> None:
    with pytest.raises(Refusal, match="service asia_cache now belongs to"):
        hook(monkeypatch, "trial", swarm)


def test_the_rollouts_hook_tries_the_node_that_stays_before_the_last_one_that_serves_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = {f"{name}.dtr.cache": value for name, value in OWNER.labels("x").items() if name.startswith("msr-cache.")}
    nodes = (node(name, **labels, **{"dtr.cache": "true"}) for name in ("worker-7", "worker-8"))
    swarm = listing(*nodes, running_on=("worker-7",))
    hook(monkeypatch, "move", swarm, {".nodes": ["worker-8"]})
    assert [spec["Name"] for spec in swarm.created] == ["asia_cache-trial-id-of-worker"]
    assert swarm.created[0]["TaskTemplate"]["Placement"]["Constraints"] == ["node.id == id-of-worker-8"]
