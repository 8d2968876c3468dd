"""The whole program: a stack's config in, outputs out; a mistake ends it before anything is declared."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import repeat
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.proto import resource_pb2

from msr_cache import clients
from msr_cache.x509.pem import sha256_of
from tests.msr_cache.conftest import (
    CACHE_TLS,
    MSR_TLS,
    STATE_ID,
    Recorder,
    bundle_folder,
    declared,
    listing,
    node,
    plain,
)

EUROPE = {"fqdn": "cache.eu.example.com", "nodes": ["worker-8"], "port": 8443, "label": "eu.cache"}


def test_a_stack_of_one_cache_gives_its_url_and_all_that_is_promised_of_it() -> None:
    """As design.md has it, "what a stack gives"."""
    outputs = declared().outputs
    assert outputs.keys() == {"cacheUrl", "caches"}
    assert outputs["cacheUrl"] == "https://cache.asia.example.com"
    (asia,) = outputs["caches"].values()
    config = yaml.safe_load(asia["configYaml"])
    assert config["http"]["secret"] == "[secret]"
    assert asia == {
        "configYaml": asia["configYaml"],
        "url": "https://cache.asia.example.com",
        "certificatePem": CACHE_TLS.certificate,
        "certificateExpires": "2035-02-03T04:05:06Z",
        "certificateSha256": sha256_of(CACHE_TLS.certificate),
        "msrCaSha256": "0a" * 32,
        "nodes": ["worker-7"],
        "service": "asia_cache",
        "image": f"mirantis/dtr-content-cache:2.9.0@sha256:{'0b' * 32}",
        "registration": {"name": "asia", "host": "https://cache.asia.example.com"},
    }


def test_a_stack_of_several_caches_gives_each_by_its_name() -> None:
    outputs = declared({"caches.europe": EUROPE}).outputs
    assert "cacheUrl" not in outputs
    urls = {name: cache["url"] for name, cache in outputs["caches"].items()}
    assert urls == {"asia": "https://cache.asia.example.com", "europe": "https://cache.eu.example.com:8443"}


def test_caches_share_msrs_ca_and_the_providers_and_nothing_else() -> None:
    program = declared({"caches.europe": EUROPE})
    components = {each.name: each.urn for each in program.of("MsrCache")}
    assert components.keys() == {"asia", "europe"}
    of = {name: {each.name for each in program.resources if each.parent == urn} for name, urn in components.items()}
    assert {name.replace("europe", "asia").replace("worker-8", "worker-7") for name in of["europe"]} == of["asia"]
    assert not of["asia"] & of["europe"]
    assert [len(program.of(kind)) for kind in ("MsrCa", "docker", "tls")] == [1, 1, 1]


OURS = {
    "dtr.cache": "true",
    "msr-cache.owner.dtr.cache": "msr-cache/prod/asia",
    "msr-cache.state.dtr.cache": STATE_ID,
}


@pytest.mark.parametrize("former", [STATE_ID, "f00000000000"], ids=["its id stays", "the run changes its id"])
def test_a_move_that_would_switch_a_cache_off_ends_the_run_before_more_than_the_states_id_is_declared(
    former: str,
) -> None:
    ours = {**OURS, "msr-cache.state.dtr.cache": former}
    swarm = listing(node("worker-1", **ours), node("worker-7", "down", **ours), running_on=("worker-1",), state=former)
    program = declared({} if former == STATE_ID else {"stateId": STATE_ID}, swarm)
    assert program.error.startswith("msr-cache:caches.asia.nodes: found worker-7, expected a node that can take")
    assert [each.name for each in program.resources] == ["state-id"]


THEIRS = {"msr-cache.owner": "msr-cache/prod/europe", "msr-cache.state": "f00000000000"}


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        ({}, "an owner that its labels do not name"),
        ({"com.docker.stack.namespace": "theirs"}, "docker stack theirs"),
        (THEIRS, "msr-cache stack msr-cache/prod/europe (state f00000000000)"),
    ],
)
def test_anothers_service_ends_the_run_before_more_than_the_states_id_is_declared(
    labels: dict[str, str], whose: str
) -> None:
    """The other cache of the stack, which nothing is in the way of, would be made first."""
    swarm = listing(node("worker-7"), node("worker-8"))
    swarm.add("services", {"Name": "europe_cache", "Labels": labels, "TaskTemplate": {}})
    program = declared({"caches.europe": EUROPE}, swarm)
    told = "left unchanged: "
    told += "use the backend" if "europe" in whose else "give the cache another name"
    assert program.error.startswith(f"service europe_cache already exists and belongs to {whose}; {told}")
    assert [each.name for each in program.resources] == ["state-id"]


def test_anothers_label_ends_the_run_before_more_than_the_states_id_is_declared() -> None:
    theirs = {"eu.cache": "true", **{f"{key}.eu.cache": value for key, value in THEIRS.items()}}
    program = declared({"caches.europe": EUROPE}, listing(node("worker-7"), node("worker-8", **theirs)))
    assert program.error.startswith("msr-cache:caches.europe.label: label eu.cache of node worker-8 belongs to msr-cac")
    assert [each.name for each in program.resources] == ["state-id"]


def fleet(caches: int) -> dict[str, Any]:
    return {f"caches.c{number}": {**EUROPE, "port": number, "label": f"c{number}.cache"} for number in range(1, caches)}


def test_no_node_gets_a_label_before_all_caches_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    register = Recorder.RegisterResource

    def slowly(recorder: Recorder, request: resource_pb2.RegisterResourceRequest) -> Any:
        time.sleep(0.2 if request.name == "europe-image" else 0)
        return register(recorder, request)

    monkeypatch.setattr(Recorder, "RegisterResource", slowly)
    kinds = [each.kind for each in declared({"caches.europe": EUROPE | {"blobTtl": "79h"}}).resources]
    assert kinds.count("NodeLabel") == 2
    assert "Image" not in kinds[kinds.index("NodeLabel") :]


def test_no_node_gets_a_label_once_the_check_of_one_cache_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --continue-on-error, the engine goes on with whatever does not depend on what has failed."""
    register = Recorder.RegisterResource

    def fail(recorder: Recorder, request: resource_pb2.RegisterResourceRequest) -> Any:
        answer = register(recorder, request)
        answer.result = resource_pb2.FAIL if request.name == "europe-image" else resource_pb2.SUCCESS
        return answer

    monkeypatch.setattr(Recorder, "RegisterResource", fail)
    program = declared({"caches.europe": EUROPE | {"blobTtl": "78h"}})
    failed = program.one("Image", "europe-image").urn
    assert [failed in each.dependencies for each in program.of("NodeLabel")] == [True, True]


def test_each_further_cache_has_as_many_dependencies_as_the_one_before() -> None:
    """A dependency for each pair of caches took most of the time of a preview of fifty."""
    three, four, five = (
        sum(len(each.dependencies) for each in declared(fleet(count)).resources) for count in (3, 4, 5)
    )
    assert five - four == four - three


@pytest.mark.timeout(20)
def test_an_error_while_caches_are_declared_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise pulumi.RunError("broken")

    monkeypatch.setattr(clients, "declare", broken)
    only_here = EUROPE | {"blobTtl": "77h"}  # what the same config declares is kept for other tests
    assert declared({"caches.europe": only_here}).error == "broken"


def test_a_service_that_the_state_may_know_under_an_earlier_name_is_left_to_its_own_check() -> None:
    """As after `pulumi stack rename`: the label on the node names this state."""
    former = {"msr-cache.owner": "msr-cache/former/asia", "msr-cache.state": STATE_ID}
    on_node = {"dtr.cache": "true", **{f"{key}.dtr.cache": value for key, value in former.items()}}
    swarm = listing(node("worker-7", **on_node))
    swarm.add("services", {"Name": "asia_cache", "Labels": former, "TaskTemplate": {}})
    assert declared(None, swarm).outputs


@pytest.mark.parametrize("owner", [{}, THEIRS], ids=["nobody's", "another's"])
def test_other_nodes_that_carry_a_caches_label_are_a_warning_and_asked_for_once_for_all_caches(
    owner: dict[str, str],
) -> None:
    labels = {"eu.cache": "true", **{f"{key}.eu.cache": value for key, value in owner.items()}}
    swarm = listing(node("worker-7"), node("worker-8"), node("worker-9", **labels))
    program = declared({"caches.europe": EUROPE}, swarm)
    assert program.outputs
    (warning,) = program.warnings
    assert warning.startswith("msr-cache:caches.europe.label: node worker-9, which is not in `nodes`, has the label")
    assert [path for _, path, _, _ in swarm.asked] == ["/nodes", "/services/asia_cache", "/services/europe_cache"]


def test_a_manager_that_nobody_can_ask_ends_the_run_before_anything_is_declared() -> None:
    swarm = listing()
    swarm.faults = repeat((0, "timed out"))
    program = declared(None, swarm)
    assert "expected a manager that answers" in program.error
    assert program.resources == []


UNSET = dict.fromkeys(("context", "caMaterial", "certMaterial", "keyMaterial"), "")
"""The real plugin takes what is empty from no variable, also when Pulumi configures it by the state alone."""


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://ops@manager-1", "unix:///var/run/docker.sock"])
def test_the_docker_provider_reaches_the_manager_that_the_config_names_also_without_the_program(host: str) -> None:
    assert plain(declared({"swarm": {"host": host}}).one("docker").inputs) == {"host": host, **UNSET}


def test_no_key_material_of_a_client_bundle_is_handed_to_the_provider(tmp_path: Any) -> None:
    """It would be stored in the clear in the state (pulumi-docker issue 643)."""
    inputs = plain(declared({"swarm": {"clientBundle": str(bundle_folder(tmp_path))}}).one("docker").inputs)
    assert inputs == {"host": "tcp://mke.example.com:443", "certPath": str(tmp_path), **UNSET}


PINS = ["0c" * 32, "0d" * 32]


@pytest.mark.parametrize(
    ("ca", "pin", "given"),
    [
        ({"sha256": PINS[0]}, PINS[0], None),
        ({"sha256": PINS}, PINS, None),
        ({"pem": MSR_TLS.ca}, None, MSR_TLS.ca),
    ],
)
def test_msrs_ca_is_what_the_config_pins_or_gives(ca: dict[str, Any], pin: Any, given: str | None) -> None:
    asked = plain(declared({"msr.ca": ca}).one("MsrCa").inputs)
    assert (asked["url"], asked.get("pin"), asked.get("given")) == ("https://msr.example.com", pin, given)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            {"offered": "0c" * 32},
            f"has another CA: found SHA-256 {'0c' * 32}, expected {'0a' * 32}. The new one is not",
        ),
        ({"unchecked": "MSR is down"}, "MSR is down. The last refresh kept what the state has, unchecked"),
    ],
)
def test_what_a_refresh_found_out_about_msrs_ca_is_a_warning(found: dict[str, str], words: str) -> None:
    (warning,) = declared(None, **found).warnings  # type: ignore[arg-type]
    assert words in warning


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({".port": 0, ".nodes": []}, ["msr-cache:caches.asia.nodes: ", "msr-cache:caches.asia.port: "]),
        (
            {
                ".registryConfig": {"loog": 1},
                ".prot": 1,
                ".storage": {"s4": {}},
                "caches.europe": EUROPE | {"registryConfig": {"loog": 1}, "nodes": []},
                "msr": {"url": "http://msr", "user": "ops", "password": "canary"},
                "swarm": {},
                "caches.asia.tls.key": "-----BEGIN PRIVATE KEY-----",
            },
            [
                "msr-cache:caches.asia.prot: ",
                "msr-cache:caches.asia.registryConfig.loog: ",
                "msr-cache:caches.asia.storage.s4: ",
                "msr-cache:caches.asia.tls.key: ",
                "msr-cache:caches.asia.tls: ",
                "msr-cache:caches.europe.nodes: ",
                "msr-cache:caches.europe.registryConfig.loog: ",
                "msr-cache:msr.password: ",
                "msr-cache:msr.url: ",
                "msr-cache:swarm: ",
            ],
        ),
        ({"swarm": {"clientBundle": "/nowhere"}}, []),
    ],
)
def test_every_mistake_of_whatever_kind_is_told_at_once_before_anything_is_declared(
    changes: dict[str, Any], lines: list[str]
) -> None:
    program = declared(changes)
    first, *told = program.error.splitlines()
    assert "nothing was changed" in first or first.startswith("msr-cache:swarm.clientBundle: found no ca.pem")
    assert len(told) == len(lines)
    assert all(line.startswith(start) for line, start in zip(sorted(told), lines, strict=True))
    assert program.resources == []


def test_an_interrupted_program_ends_at_once_without_a_traceback() -> None:
    """The engine interrupts the program after every step that fails, and prints what it says below the error."""
    program = (
        "import os, signal, time; from msr_cache.stack import end_quietly_when_interrupted as quietly; quietly();"
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
