"""Both engines do the same with the same programs: the same operations, changed keys, and resources in their states."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.site import Site
from tests.lab.rehearsal.program import Event, Program, Run

pytestmark = pytest.mark.engine

Step = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""Operation, resource's name, keys that mean a replacement, keys that differ (where the provider tells)."""


class Real(Program):
    """The same program on Pulumi's own engine."""

    def command(self, *words: str) -> list[str]:
        flags = {"up": ["--yes", "--skip-preview"], "refresh": ["--yes", "--skip-preview"], "destroy": ["--yes"]}
        more = [] if words[0] == "stack" else ["--non-interactive", *flags.get(words[0], [])]
        return ["pulumi", *words, *more]

    @property
    def environment(self) -> dict[str, str]:
        quiet = {"PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_DEBUG_COMMANDS": "true"}
        return super().environment | quiet

    def run(self, *words: str) -> Run:
        if not (self.folder / "state").exists():
            (self.folder / "state").mkdir()
            command = ["pulumi", "stack", "init", "s"]
            subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True)
        run = super().run(*words)
        run.events = [
            flat(event["resourcePreEvent"]["metadata"]) for event in run.events if "resourcePreEvent" in event
        ]
        return run


def flat(metadata: Event) -> Event:
    name = metadata["urn"].rpartition("::")[2]
    # Pulumi tells them in the order of a Go map.
    keys = {what: sorted(metadata.get(what) or []) for what in ("keys", "diffs")}
    return {"op": metadata["op"], "type": metadata["type"], "name": name, **keys}


@pytest.fixture(params=[Program, Real], ids=["rehearsal", "real"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    made: Program = request.param(tmp_path / "small")
    return made


@pytest.fixture
def both(tmp_path: Path) -> Iterator[list[Program]]:
    programs = [Program(tmp_path / "rehearsal"), Real(tmp_path / "real")]
    yield programs
    for program in programs:
        if (program.folder / "state").exists():
            program.must("destroy")


def same(programs: list[Program], *words: str, body: str | None = None) -> list[Step]:
    """Run the same command of the same program on both, one after the other; return what both have done."""
    done = []
    for program in programs:
        if body is not None:
            program.write(body)
        run = program.must(*words)
        quiet = ("same", "refresh")
        steps = [event for event in run.events if event["op"] not in quiet]
        done.append(sorted((step["op"], step["name"], tuple(step["keys"]), tuple(step["diffs"])) for step in steps))
    assert done[0] == done[1]
    return done[0]


def resources(program: Program) -> dict[str, Any]:
    """Return what a state says of each resource, but for ids, which are each engine's own, and sealed texts."""
    found = json.loads(program.must("stack", "export", "--show-secrets").out)["deployment"]["resources"]
    ids = {item["id"]: "an id" for item in found if item.get("id")}

    def without_ids(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_ids(item) for key, item in sorted(value.items())}
        if isinstance(value, list):
            return [without_ids(item) for item in value]
        return ids.get(value, value) if isinstance(value, str) else value

    return {
        item["urn"]: {
            "type": item["type"],
            "parent": item.get("parent"),
            "provider": item.get("provider", "").rpartition("::")[0],
            "inputs": without_ids(item.get("inputs", {})),
            "dependencies": sorted(item.get("dependencies", [])),
            "propertyDependencies": {key: sorted(urns) for key, urns in item.get("propertyDependencies", {}).items()},
        }
        for item in found
    }


DYNAMIC = """
class Group(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("my:own:Group", name, {"size": SIZE})
        self.a = File("a", SIZE, pulumi.ResourceOptions(parent=self), file=FILE)
        self.b = File("b", pulumi.Output.secret(self.a.made), pulumi.ResourceOptions(parent=self))
        self.register_outputs({"told": self.a.made})
group = Group("g")
File("c", group.b.made, pulumi.ResourceOptions(depends_on=[group]), inner={"deep": [1, pulumi.Output.secret("s")]})
pulumi.export("told", group.a.made)
"""


FIRST = 'File("d", 1, first=True)'


def dynamic(size: int, file: str, more: str = "") -> str:
    return DYNAMIC.replace("SIZE", str(size)).replace("FILE", repr(file)) + more


def test_dynamic_resources_go_through_the_same_life(both: list[Program]) -> None:
    assert len(same(both, "preview", body=dynamic(1, "a", 'File("d", 1)'))) == 7
    same(both, "up")
    assert resources(both[0]) == resources(both[1])
    assert same(both, "preview") == []
    for body in (dynamic(2, "a", 'File("d", 1)'), dynamic(2, "other"), dynamic(3, "other", FIRST)):
        assert same(both, "preview", body=body)
        assert same(both, "up")
        assert resources(both[0]) == resources(both[1])
    first = dynamic(3, "other", 'File("d", 1, first=True, file="d2")')
    assert ("delete-replaced", "d", (), ()) in same(both, "up", body=first)
    for program in both:
        (program.folder / "world" / "other").unlink()
    same(both, "refresh")
    assert ("create", "a", (), ()) in same(both, "preview")
    same(both, "up", "--refresh")
    assert both[0].world() == both[1].world()
    assert len(same(both, "destroy")) == 7


def test_errors_are_told_in_the_same_words(engine: Program) -> None:
    for body, told in (
        ('File("a", 7, wrong=["it"])', "resource 'a': property value value {7} has a problem: it is wrong\n"),
        ('File("a", 7, broken="it")', "ValueError: it can't be made\n"),
        ('raise pulumi.RunError("one\\ntwo")', "error: one\n"),
        ('raise RuntimeError("broke")', "Program failed with an unhandled exception:\n"),
        (
            'File("a", 1)\nFile("a", 1)',
            "Duplicate resource URN 'urn:pulumi:s::small::pulumi-python:dynamic:Resource::a'",
        ),
    ):
        engine.write(body)
        run = engine.run("up", "--diff")
        assert run.code
        assert told in run.text


def test_what_pulumi_has_encrypted_with_a_passphrase_is_read(both: list[Program]) -> None:
    body = 'File("a", pulumi.Config().require_secret("token"))'
    both[1].write(body)
    both[1].run("preview")
    words = ["pulumi", "config", "set", "--secret", "token", "t0ken"]
    subprocess.run(words, cwd=both[1].folder, env=both[1].environment, check=True)
    shutil.copy(both[1].folder / "Pulumi.s.yaml", both[0].folder)
    same(both, "up", body=body)
    assert both[0].world() == both[1].world() == {"a": "t0ken"}


HOUR = """
import pulumi_tls as tls
p = tls.Provider("tls")
opts = pulumi.ResourceOptions(provider=p)
key = tls.PrivateKey("key", algorithm="RSA", rsa_bits=2048, opts=opts)
ca = tls.SelfSignedCert("ca", private_key_pem=key.private_key_pem, subject={"common_name": "CA"},
    is_ca_certificate=True, allowed_uses=["cert_signing"],
    validity_period_hours=VALID, early_renewal_hours=EARLY, opts=opts)
request = tls.CertRequest("request", private_key_pem=key.private_key_pem, dns_names=["a.example.com"],
    subject={"common_name": "a.example.com"}, opts=opts)
tls.LocallySignedCert("cert", cert_request_pem=request.cert_request_pem, ca_private_key_pem=key.private_key_pem,
    ca_cert_pem=ca.cert_pem, allowed_uses=["server_auth"], validity_period_hours=VALID, opts=opts)
"""


def hour(valid: int, early: int) -> str:
    return HOUR.replace("VALID", str(valid)).replace("EARLY", str(early))


def test_certificates_are_made_and_when_they_are_due_replaced_with_what_they_sign(both: list[Program]) -> None:
    same(both, "up", body=hour(9, 1))
    assert resources(both[0]).keys() == resources(both[1]).keys()
    assert same(both, "preview") == []
    assert same(both, "preview", body=hour(9, 2)) == [("update", "ca", (), ("earlyRenewalHours",))]
    due = same(both, "preview", body=hour(9, 9))
    assert {name for op, name, *_ in due if op == "replace"} == {"ca", "cert"}
    assert {name for op, name, *_ in same(both, "up", body=hour(8, 1)) if op == "replace"} == {"ca", "cert"}
    assert same(both, "preview") == []


SERVICE = """
import pulumi_docker as docker
opts = pulumi.ResourceOptions(provider=docker.Provider("swarm", host="HOST"))
config = docker.ServiceConfig("config", CONFIG, opts=opts)
docker.Service("s", name="rehearsed", mode={"replicated": {"replicas": 0}},
    task_spec={
        "container_spec": {
            "image": "IMAGE", "commands": ["/start.sh"], "env": {}, "sysctl": {},
            "configs": [{"config_id": config.id, "config_name": config.name, "file_name": "/config.yml"}],
        },
        "restart_policy": {"condition": "on-failure", DELAY "max_attempts": 0, "window": "0s"},
    },
    opts=opts)
"""
STATED = '"delay": "5s",'


def service(site: Site, config: str, delay: str = STATED) -> str:
    image = f"{site.cache_image}@{site.image_digest('2.9.0')}"
    body = SERVICE.replace("HOST", site.docker_host).replace("IMAGE", image)
    return body.replace("CONFIG", config).replace("DELAY", delay)


@pytest.mark.swarm
def test_a_default_that_is_not_stated_never_settles_and_a_fixed_name_is_deleted_first(
    site: Site, tmp_path: Path
) -> None:
    steps: dict[str, list[Any]] = {}
    for kind in (Program, Real):
        programs = [kind(tmp_path / kind.__name__)]  # one after the other: there is one swarm
        told = steps[kind.__name__] = []

        def do(*words: str, body: str | None = None, of: list[Program] = programs, told: list[Any] = told) -> None:
            if body is not None:
                of[0].write(body)
            run = of[0].must(*words)
            told.append(
                [
                    (step["op"], step["name"], step["keys"], step["diffs"])
                    for step in run.events
                    if step["op"] not in ("same", "refresh") and "providers" not in step["type"]
                ]
            )

        do("up", body=service(site, 'data_raw="one"'))
        do("preview")
        do("preview", body=service(site, 'data_raw="one"', ""))
        do("up", body=service(site, 'data_raw="one"', ""))
        do("preview")
        do("refresh")
        do("preview")
        do("preview", body=service(site, 'data_raw="two"'))
        do("up", body=service(site, 'data_raw="two"'))
        do("destroy")
        do("up", body=service(site, 'data_raw="two", name="fixed"'))
        do("preview", body=service(site, 'data_raw="three", name="fixed"'))
        fails = programs[0]
        fails.write(service(site, 'data_raw="three", name="fixed"'))
        run = fails.run("up")
        assert run.code
        assert "is in use by the following service: rehearsed" in run.text
        do("destroy")
    rehearsed, real = steps["Program"], steps["Real"]
    for one, other in zip(rehearsed, real, strict=True):
        assert one == other
    assert ("update", "s", [], ["taskSpec"]) in rehearsed[4], "never settles"
    assert [op for op, name, *_ in rehearsed[11] if name == "config"] == [
        "delete-replaced",
        "replace",
        "create-replacement",
    ]
