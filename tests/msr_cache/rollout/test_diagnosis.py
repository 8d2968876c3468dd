"""Why a deployment failed: the swarm's own error, the reason in the task's log, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from msr_cache.rollout import diagnosis
from tests.msr_cache.conftest import refusing, task
from tests.msr_cache.engine import Engine

CRASH = "task: non-zero exit (2)"


def frame(text: str, stream: int = 1) -> bytes:
    """Return a frame of the Engine API's log stream (attach to a container: stream format)."""
    data = text.encode()
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def exited(id_: str = "task-1", err: str = CRASH, code: int = 2) -> dict[str, Any]:
    return task(id_, "failed", err, ContainerStatus={"ExitCode": code})


def explain(swarm: Engine, failed: dict[str, Any]) -> list[str]:
    return diagnosis.explain(swarm.manager, failed).splitlines()


# Errors as Docker Engine 20.10's swarm words them.
@pytest.mark.parametrize(
    ("state", "err", "advice"),
    [
        ("rejected", "No such image: mirantis/dtr-content-cache:2.9.99", "check `image`"),
        ("rejected", "manifest unknown: manifest unknown", "check `image`"),
        ("rejected", "pull access denied for cache, repository does not exist", "check `image`"),
        ("pending", "no suitable node (host-mode port already in use on 1 node)", "choose another `port`"),
        (
            "pending",
            "no suitable node (host-mode port already in use on 1 node; insufficient resources on 1 node)",
            "choose another `port`",
        ),
        (
            "failed",
            "driver failed programming external connectivity: Bind for 0.0.0.0:443 failed: port is already allocated",
            "choose another `port`",
        ),
        ("failed", "listen tcp4 0.0.0.0:443: bind: address already in use", "choose another `port`"),
        ("pending", "no suitable node (scheduling constraints not satisfied on 3 nodes)", "no node carries the label"),
        ("pending", "no suitable node (insufficient resources on 1 node)", "lower `resources.reservations`"),
        ("failed", CRASH, "read the log lines above"),
        ("failed", "task: non-zero exit (2): dockerexec: unhealthy container", "never opened the cache's port"),
    ],
)
def test_each_known_error_comes_with_what_to_do(swarm: Engine, state: str, err: str, advice: str) -> None:
    first, *_, last = explain(swarm, task("task-1", state, err))
    assert first == f"task task-1 on worker-7 {state}: {err}"
    assert last.startswith("  what to do: ")
    assert advice in last


def test_an_unknown_error_is_told_alone(swarm: Engine) -> None:
    assert explain(swarm, task("task-1", "rejected", "something new")) == [
        "task task-1 on worker-7 rejected: something new"
    ]


def test_a_task_that_ended_without_an_error_is_told_by_its_state(swarm: Engine) -> None:
    assert explain(swarm, task("task-1", "complete")) == [
        "task task-1 on worker-7 complete: the task ended by itself (state complete)"
    ]


def test_the_log_of_a_task_that_ran_is_shown_as_it_was_written(swarm: Engine) -> None:
    swarm.log = frame("starting\n") + frame("giving up\n", stream=2)
    lines = explain(swarm, exited())
    assert lines[:3] == [f"task task-1 on worker-7 failed: {CRASH}", "    starting", "    giving up"]
    assert ("GET", "/tasks/task-1/logs", {"stdout": "1", "stderr": "1", "tail": "2000"}, None) in swarm.asked


def test_a_task_whose_container_never_ran_has_no_log(swarm: Engine) -> None:
    swarm.log = frame("somebody else's\n")
    assert "somebody else's" not in "".join(explain(swarm, task("task-1", "rejected", "No such image: a:b")))
    assert not [path for _, path, _, _ in swarm.asked if path.endswith("/logs")]


def test_an_exit_code_of_zero_has_a_log_too(swarm: Engine) -> None:
    swarm.log = frame("bye\n")
    ended = task("task-1", "complete", ContainerStatus={"ExitCode": 0})
    assert explain(swarm, ended)[1] == "    bye"


def test_only_the_last_lines_are_shown_and_none_is_too_long(swarm: Engine) -> None:
    swarm.log = b"".join(frame(f"line {number} {'x' * 10_000}\n") for number in range(40))
    _, *lines, _, file = explain(swarm, exited())
    assert [line.split()[1] for line in lines] == [str(number) for number in range(30, 40)]
    assert {len(line.strip()) for line in lines} == {200}
    assert {len(line) for line in Path(file.partition(": ")[2]).read_text().splitlines()} == {10_000}


def test_several_lines_in_one_frame_are_several(swarm: Engine) -> None:
    swarm.log = frame("one\ntwo\r\nthree")
    assert explain(swarm, exited())[1:4] == ["    one", "    two", "    three"]


@pytest.mark.parametrize("stream", [b"", b"\x01\x00\x00", frame("whole\n")[:-3], b"\x01\x00\x00\x00\xff\xff\xff\xff"])
def test_a_stream_that_is_cut_off_does_no_harm(swarm: Engine, stream: bytes) -> None:
    swarm.log = stream
    assert explain(swarm, exited())[0] == f"task task-1 on worker-7 failed: {CRASH}"


def test_what_is_no_utf8_does_no_harm(swarm: Engine) -> None:
    swarm.log = bytes([1, 0, 0, 0, 0, 0, 0, 3]) + b"a\xffb"
    assert explain(swarm, exited())[1] == "    a�b"


@pytest.mark.parametrize(
    "line",
    [
        "panic: unable to configure registry middleware (downstream): error parsing upstreams",
        "error unmarshaling response from upstream https://msr: invalid character '-' in numeric literal",
    ],
)
def test_a_log_that_tells_another_version_of_msr_is_explained(swarm: Engine, line: str) -> None:
    """Docker KB: "Troubleshooting common DTR content cache issues"."""
    swarm.log = frame(line + "\n")
    assert "  what to do: use the image of your MSR's version" in explain(swarm, exited())


STARTS = """\
time="2026-11-27T07:13:17.8Z" level=info msg="redis not configured" go.version=go1.19.8 instance.id=de9d version=2.8.2
time="2026-11-27T07:13:17.9Z" level=error msg="a purge failed" go.version=go1.19.8 instance.id=de9d version=2.8.2
"""
STACK = """
goroutine 1 [running]:
github.com/docker/distribution/registry/handlers.NewApp({0x11a4b98?, 0xc0004f8c00?}, 0xc000552380)
\tgithub.com/docker/distribution/registry/handlers/app.go:324 +0x1c0d
main.main()
\tgithub.com/docker/distribution/cmd/registry/main.go:22 +0x25
"""
S3_NEEDS = (
    "panic: s3aws: NoCredentialProviders: no valid providers in chain. Deprecated.\n\tFor verbose messaging see aws\n"
)
NO_CREDENTIALS = (
    "the cache has no credentials for the S3 bucket: set `storage.s3.accesskey` and `.secretkey`, or give the node a "
    "role"
)


def test_the_line_that_names_the_cause_comes_first_and_no_stack_frame_at_all(swarm: Engine) -> None:
    swarm.log = frame(STARTS) + frame(f"it starts\n{S3_NEEDS}{STACK}", stream=2)
    *told, file = explain(swarm, exited())
    assert told == [
        f"task task-1 on worker-7 failed: {CRASH}",
        "    panic: s3aws: NoCredentialProviders: no valid providers in chain. Deprecated.",
        "     For verbose messaging see aws",
        f"  what to do: {NO_CREDENTIALS}",
    ]
    assert file.startswith("  the whole log: ")


# As Debian's docker-registry 2.8.2 words them.
@pytest.mark.parametrize(
    ("line", "means"),
    [
        (
            'panic: Get "https://msr.example.com:8443/v2/": dial tcp 10.0.0.1:8443: connect: connection refused',
            "the cache can't reach MSR at https://msr.example.com:8443: check that MSR (or the cache in `upst",
        ),
        (
            'panic: Get "https://msr.example.com/v2/": dial tcp: lookup msr.example.com on 10.0.0.53:53: no such host',
            "the cache can't reach MSR at https://msr.example.com: check that MSR (or the cache in `upstreams`) ",
        ),
        (
            'panic: Get "https://msr.example.com/v2/": net/http: TLS handshake timeout',
            "the cache can't reach MSR at https://msr.example.com: ",
        ),
        (
            'panic: Get "https://msr.example.com/v2/": proxyconnect tcp: dial tcp 10.0.0.2:3128: connect: refused',
            "the cache can't reach MSR at https://msr.example.com through its proxy: check `environment.HTTPS_PROXY`, ",
        ),
        (
            'panic: Get "https://msr.example.com/v2/": Proxy Authentication Required',
            "the cache can't reach MSR at https://msr.example.com through its proxy: check `environment.HTTPS_PROXY`, ",
        ),
        (
            'panic: Get "https://msr.example.com/v2/": x509: certificate signed by unknown authority',
            "the cache does not trust MSR at https://msr.example.com: check `msr.ca`",
        ),
        ("panic: s3aws: NoSuchBucket: The specified bucket does not exist", "the S3 bucket refused the cache (NoSuchB"),
        ("panic: s3aws: AccessDenied: Access Denied", "the S3 bucket refused the cache (AccessDenied): check `storage"),
        ("panic: s3aws: RequestError: send request failed", "the cache can't reach the S3 storage: check `storage.s3"),
        ("panic: invalid region provided: eu-central-9", "the cache knows no region eu-central-9: check `storage.s3"),
        ("panic: StorageDriver not registered: azure", "the image has no storage driver azure: choose another"),
        ('panic: swift authentication failed: Post "https://swift/v3"', "the Swift storage did not let the cache log"),
        (
            'time="2026-11-27T07:13:55Z" level=fatal msg="open /run/secrets/x.pem: no such file or directory"',
            "config.yml names the file /run/secrets/x.pem, which the container does not have: check `registryConfig`",
        ),
        (
            'time="2026-11-27T07:13:55Z" level=fatal msg="listen tcp :9443: bind: address already in use"',
            "a process on the node holds that port: choose another `port`",
        ),
    ],
)
def test_what_a_registry_says_is_told_in_the_words_of_the_config(swarm: Engine, line: str, means: str) -> None:
    swarm.log = frame(f"{STARTS}{line}\n{STACK}", stream=2)
    _, first, *_, advice, _ = explain(swarm, exited())
    assert first == "    " + line.removeprefix('time="2026-11-27T07:13:55Z" ')
    assert advice.startswith(f"  what to do: {means}")


def test_an_error_in_the_log_comes_first_where_nothing_was_fatal(swarm: Engine) -> None:
    swarm.log = frame(STARTS + "".join(f"line {number}\n" for number in range(20)))
    lines = explain(swarm, exited())[1:-2]
    assert lines[0] == '    level=error msg="a purge failed"'
    assert lines[1:] == [f"    line {number}" for number in range(11, 20)]


def test_the_whole_log_is_in_a_file_that_others_cant_read_and_that_shows_no_password(
    swarm: Engine, tmp_path: Path
) -> None:
    swarm.log = frame(f"{STARTS}proxy https://ops:canary@proxy:3128\n{S3_NEEDS}{STACK}")
    first, *_, last = explain(swarm, exited("y4rrjq9x1ve0whfy8"))
    assert first.startswith("task y4rrjq9x1ve0 on ")
    named = Path(last.removeprefix("  the whole log: "))
    assert [*tmp_path.iterdir()] == [named]
    assert named.name.startswith("msr-cache-y4rrjq9x1ve0-")
    assert named.stat().st_mode & 0o777 == 0o600
    text = named.read_text()
    assert "canary" not in text
    assert len(text.splitlines()) == len(f"{STARTS}{S3_NEEDS}{STACK}".splitlines()) + 1
    assert "level=info" in text
    assert "main.go:22" in text


def test_a_log_that_cant_be_kept_does_not_hide_the_cause(swarm: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    swarm.log = frame(S3_NEEDS)
    assert explain(swarm, exited())[-1].startswith("  what to do: the cache has no credentials")


def test_a_log_or_node_that_cant_be_read_does_not_hide_the_cause() -> None:
    first, second, last = diagnosis.explain(refusing(0, "timed out"), exited()).splitlines()
    assert first == f"task task-1 on node node-1 failed: {CRASH}"
    assert "can't be read" in second
    assert last.startswith("  what to do: ")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2024-05-01T10:00:00.5Z", "2024-05-01T10:00:01.5Z"),
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00.5Z"),
        ("2024-05-01T10:00:00.4Z", "2024-05-01T10:00:00.45Z"),
        ("2024-05-01T09:59:59.999999999Z", "2024-05-01T10:00:00Z"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_task_is_the_one_whose_state_changed_last(older: str, newer: str, turned: bool) -> None:
    """Go writes RFC 3339 times without the zeros at a fraction's end."""
    tasks = [task("older", "failed", Timestamp=older), task("newer", "failed", Timestamp=newer)]
    found = diagnosis.newest(reversed(tasks) if turned else tasks)
    assert found
    assert found["ID"] == "newer"


@pytest.mark.parametrize(
    ("state", "hopeless"),
    [
        *[(state, False) for state in ("new", "pending", "assigned", "preparing", "starting", "running", "shutdown")],
        *[(state, True) for state in ("failed", "rejected", "orphaned", "complete")],
    ],
)
def test_a_task_that_failed_or_ended_by_itself_is_hopeless(state: str, hopeless: bool) -> None:
    """Task states: docs.docker.com, "Swarm task states"; shutdown is what the swarm itself does."""
    assert diagnosis.is_hopeless(task("task-1", state)) is hopeless


def test_only_a_task_that_the_scheduler_has_looked_at_in_vain_is_unplaced() -> None:
    assert diagnosis.is_unplaced(task("t", "pending", "no suitable node (scheduling constraints not satisfied)"))
    assert not diagnosis.is_unplaced(task("t", "pending"))
    assert not diagnosis.is_unplaced(task("t", "assigned", "no suitable node"))
