"""The stand-ins refuse what they don't know by its name, in one line and without a trace, and say what they are."""

from __future__ import annotations

import os

import pytest

from lab.pulumi.plugins import LAUNCHERS
from tests.lab.pulumi.conftest import Project

pytestmark = pytest.mark.engine

HEAD = """
import pulumi, pulumi_docker as docker, pulumi_tls as tls
HOST = "unix:///run/msr-cache-lab/engine/docker.sock"
swarm = docker.Provider("swarm", host=HOST)
on = pulumi.ResourceOptions(provider=swarm)
"""
UNKNOWN = "the lab's stand-in for this plugin does not know"


@pytest.fixture
def stood_in(project: Project) -> Project:
    project.environment["PATH"] = f"{LAUNCHERS}{os.pathsep}{project.environment['PATH']}"
    return project


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("docker.Volume('v', opts=on)", f"{UNKNOWN} the type docker:index/volume:Volume"),
        (
            "docker.Provider('other', host='ssh://ops@manager-1.example.com')",
            "docker provider other: found ssh://ops@manager-1.example.com, expected a lab's docker host",
        ),
        ("tls.PrivateKey('k', algorithm='ED25519')", f"{UNKNOWN} ED25519 keys"),
        ("tls.Provider('t', proxy={'url': 'http://p'})", f"tls provider t: {UNKNOWN} proxy"),
    ],
)
def test_what_a_stand_in_does_not_know_is_an_error_that_names_it(stood_in: Project, program: str, told: str) -> None:
    stood_in.write(HEAD + program)
    text = stood_in.fails("up", "--yes", "--skip-preview")
    assert told in text
    assert "Traceback" not in text
    for package in {"docker", "tls"} & {word.partition(".")[0] for word in program.split("(")}:
        assert f"warning: pulumi-{package}: this is the lab's stand-in" in text
