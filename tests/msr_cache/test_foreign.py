"""Text from outside stays on its line, prints as it is, and holds no secret, wherever a message shows it."""

from __future__ import annotations

import base64
import json
from html import escape
from urllib.parse import quote

import pytest
from cryptography import x509

from msr_cache import https
from msr_cache.commands import ca
from msr_cache.foreign import shown
from msr_cache.msr.api import Credentials, Entry, Msr
from msr_cache.msr.registry import MsrRegistry
from msr_cache.refusal import Refusal
from msr_cache.rollout.diagnosis import explain
from msr_cache.swarm.manager import EngineError
from msr_cache.swarm.nodes import listed
from msr_cache.swarm.ownership import LOST, NAMESPACE, OWNER, STATE, owner_in, refuse_other_owner
from msr_cache.x509 import pem
from msr_cache.x509.chain import server_mistakes
from msr_cache.x509.pem import Given
from tests.certificates import HOST, make
from tests.msr_cache.conftest import message, node, task
from tests.msr_cache.engine import Engine

ELSEWHERE = {"www-authenticate": 'Bearer realm="https://a\x1b2K\u202e/"'}
FORGED = "MSR CA\nSHA-256:            00\x1b[1A\x1b[2K\r\u202e\u2028\x9b31m\x00"
ESCAPED = "MSR CA\\nSHA-256:            00\\x1b[1A\\x1b[2K\\r\\u202e\\u2028\\x9b31m\\x00"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("CN=Bücher 書店", "CN=Bücher 書店"),
        (FORGED, ESCAPED),
        ("\ud800", "\\ud800"),
        ("a\tb", "a b"),
        (None, "None"),
        ('Post "https://ops:hunter2@hooks/a": EOF', 'Post "https://...@hooks/a": EOF'),
        ("ssh://ops@manager //registry:5000/a@sha256:0a", "ssh://ops@manager //registry:5000/a@sha256:0a"),
        ("x" * 401, "x" * 397 + "..."),
    ],
)
def test_what_prints_is_shown_as_it_is_and_the_rest_escaped(text: object, line: str) -> None:
    assert shown(text) == line


def test_a_secret_is_masked_before_the_text_is_cut_and_the_longer_one_first() -> None:
    assert shown("x" * 15 + "hunter2hunter2", ["hunter2", "", "hunter2hunter2"], longest=25) == "x" * 15 + "[secret]"


def test_a_certificate_forges_no_line_of_the_command_that_shows_msrs_ca(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(FORGED.replace("\x00", "")[:64], ca=True)
    monkeypatch.setattr(ca, "fetch", lambda _: made.pem)
    ca.main(["https://msr.example.com"])
    said = capsys.readouterr().out
    shown_sha256 = [line for line in said.splitlines() if line.startswith("SHA-256:")]
    assert shown_sha256 == [f"SHA-256:            {pem.sha256(made.certificate)}"]
    assert all(each.isprintable() or each == "\n" for each in said)


def test_no_name_in_a_chain_breaks_the_line_that_refuses_it() -> None:
    forged = "a\n\x1b[2K"
    root = make(forged, ca=True, days=(-9, -1), more=((x509.NameConstraints([x509.DNSName("b.org")], None), True),))
    chains = [
        Given(root.sign(forged, sans=(HOST,)).pem, ca=root.pem),
        Given(root.sign(forged, sans=("a\nb.example.com",)).pem),
        Given(make(forged, ca=True).sign(HOST, sans=(HOST,)).pem, ca=make(forged, ca=True).pem),
    ]
    for given in chains:
        problems = [problem for _, problem in server_mistakes(given, [HOST])]
        assert problems
        assert all(problem.isprintable() for problem in problems)


def refused(body: bytes, secret: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(https.Client, "ask", lambda *_: https.Answer(500, {}, body))
    msr = Msr("https://msr.example.com", None, Credentials("admin", secret))
    return message(msr.entries)


SECRET = 'pa"ss/w<ö>rd?'
SPELLINGS = {
    "as it is": SECRET,
    "JSON": json.dumps(SECRET),
    "HTML": escape(SECRET),
    "URL": quote(SECRET, safe=""),
    "header": "Authorization: Basic " + base64.b64encode(f"admin:{SECRET}".encode()).decode(),
}


@pytest.mark.parametrize("before", [0, 180, 190, 397])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_part_of_a_password_that_msr_repeats_is_shown(
    spelling: str, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SPELLINGS[spelling]
    for body in (f"{'-' * before}{text}", json.dumps({"errors": [{"message": "-" * before + text}]})):
        said = refused(body.encode(), SECRET, monkeypatch).replace("Authorization: Basic ", "")
        end = said.partition("(" + "-" * before)[2]
        assert end.startswith(("[secret]", '"[secret]', "...", "[se"))


def test_an_error_of_msr_stays_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ESCAPED in refused(FORGED.encode(), "secret", monkeypatch)


@pytest.mark.parametrize(
    "last",
    [https.Answer(404, {}, b""), https.Answer(401, ELSEWHERE, b"")],
)
def test_no_name_in_msrs_registry_breaks_the_line_that_refuses_it(
    last: https.Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([https.Answer(200, {}, json.dumps({"repositories": [FORGED]}).encode()), last])
    monkeypatch.setattr(https.Client, "ask", lambda *_: next(answers))
    registry = MsrRegistry(Msr("https://msr.example.com", None, Credentials("admin", "secret")))
    assert message(registry.sample).isprintable()


def test_a_swarms_answer_and_a_tasks_log_stay_on_their_lines() -> None:
    swarm = Engine()
    swarm.log = b"\x02\0\0\0" + len(FORGED.encode()).to_bytes(4) + FORGED.encode()
    failed = {**task("task-1", "failed", FORGED, ContainerStatus={"ExitCode": 1})}
    text = explain(swarm.manager, failed)
    assert all(line.isprintable() for line in text.splitlines())
    assert f"failed: {ESCAPED}" in text
    assert str(EngineError("tcp://manager", 500, FORGED)).endswith(ESCAPED)
    assert listed([node(FORGED)]) == ESCAPED
    assert str(Entry("1", FORGED, "https://a")).startswith(ESCAPED)


def test_another_tenants_labels_forge_no_line_and_no_command() -> None:
    assert owner_in({NAMESPACE: FORGED}) == f"docker stack {ESCAPED}"
    theirs = {OWNER: "p/s/asia", STATE: f"a; reboot{FORGED}"}
    with pytest.raises(Refusal) as caught:
        refuse_other_owner("service asia_cache", theirs, {OWNER: "p/s/asia", STATE: "b"}, LOST)
    assert str(caught.value).isprintable()
    assert f"msr-cache:stateId 'a; reboot{ESCAPED}'" in str(caught.value)
