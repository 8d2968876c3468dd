"""Explains why a deployment failed: the swarm's own error, the reason in the task's log, and what to do."""

import re
from collections.abc import Iterable
from tempfile import NamedTemporaryFile
from typing import Any

from msr_cache.foreign import shown
from msr_cache.refusal import Refusal
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.nodes import hostname

Task = dict[str, Any]

LOG_LINES = 10
LOG_WIDTH = 200
"""Characters shown of each log line: some of the registry's have a thousand."""
KEPT_LINES, KEPT_WIDTH = 2000, 10_000
"""Lines of the log, and characters of each, that are kept in a file: a cache may have run for months."""

_KNOWN = {
    "No such image|manifest unknown|pull access denied": (
        "check `image`, and that the node reaches its registry, or has the image (docker load); if the registry asks "
        "for a login, set msr-cache:imageRegistries"
    ),
    "bind source path does not exist": "create the folder on each of `nodes`, or correct `volume.bind`",
    "failed to mount|error while mounting volume|VolumeDriver": (
        "check `volume`, and that each node reaches the server and has the client or the driver for it"
    ),
    "host-mode port already in use": (
        "another service publishes that port on this node: choose another `port`. If it is a cache that you removed "
        "from the config, first run pulumi up without this one: a run removes caches last"
    ),
    "address already in use|port is already allocated": "a process on the node holds that port: choose another `port`",
    "not available for new tasks": (
        "start the node that carries the label, or make it active (docker node update --availability active); "
        "if no node carries the label, pulumi up --refresh restores it"
    ),
    "scheduling constraints not satisfied": (
        "no node carries the label: if it was removed, pulumi up --refresh restores it; else check `nodes`"
    ),
    "insufficient resources": "no node with the label has that much free: lower `resources.reservations`",
    "error unmarshaling response|panic: unable to configure registry middleware": "use the image of your MSR's version",
    r'panic: Get "(https://[^"]+)/v2/": (?:x509|tls: failed to verify)': (
        r"the cache does not trust MSR at \1: check `msr.ca` (python -m msr_cache ca \1 shows what MSR returns)"
    ),
    r'panic: Get "(https://[^"]+)/v2/": (?:proxyconnect|Proxy Auth|Forbidden)': (
        r"the cache can't reach MSR at \1 through its proxy: check `environment.HTTPS_PROXY`, and that the proxy "
        "is up and lets CONNECT pass to MSR"
    ),
    r'panic: Get "(https://[^"]+)/v2/": ': (
        r"the cache can't reach MSR at \1: check that MSR (or the cache in `upstreams`) is up, and the firewall"
    ),
    "panic: s3aws: NoCredentialProviders": (
        "the cache has no credentials for the S3 bucket: set `storage.s3.accesskey` and `.secretkey`, or give the node "
        "a role"
    ),
    "panic: s3aws: RequestError": (
        "the cache can't reach the S3 storage: check `storage.s3.region` and `.regionendpoint`, DNS and the firewall"
    ),
    r"panic: s3aws: (\w+)": (
        r"the S3 bucket refused the cache (\1): check `storage.s3.bucket`, `.region` and the credentials' rights"
    ),
    r"panic: invalid region provided: (\S+)": (
        r"the cache knows no region \1: check `storage.s3.region`; for a storage of your own, set `.regionendpoint` too"
    ),
    "panic: swift authentication failed": "the Swift storage did not let the cache log in: check `storage.swift`",
    r"panic: StorageDriver not registered: (\w+)": r"the image has no storage driver \1: choose another `storage`",
    r'level=fatal msg="open (\S+): no such file': (
        r"config.yml names the file \1, which the container does not have: check `registryConfig`"
    ),
    "unhealthy container": "it runs but never opened the cache's port: check `registryConfig.http` and the log above",
    "non-zero exit": "read the log lines above, which the cache wrote",
}
"""The meaning of an error and what to do, by a pattern: the first that matches wins. Registries 2.8 word them so."""
_CAUSES = (re.compile(r"^panic: |^fatal error: |\blevel=(?:fatal|panic)\b"), re.compile(r"\blevel=error\b"))
_STACK = re.compile(r"^goroutine \d+ \[")
_EACH_LINE_HAS = re.compile(r'^time="[^"]*" | (?:go\.version|instance\.id|version)=\S+')


def is_hopeless(task: Task) -> bool:
    """Whether a task has failed, or ended, which a cache's never should."""
    return task["Status"]["State"] in ("failed", "rejected", "orphaned", "complete")


def was_moved(task: Task) -> bool:
    """Whether the swarm ended a task because its node lost the label."""
    return "no longer meets constraints" in task["Status"].get("Err", "")


def is_unplaced(task: Task) -> bool:
    """Whether the scheduler finds no node for a task."""
    return task["Status"]["State"] == "pending" and "no suitable node" in task["Status"].get("Err", "")


def waits_for_port(task: Task) -> bool:
    """Whether the scheduler finds no node because another task holds the port there."""
    return "host-mode port already in use" in task["Status"].get("Err", "")


def newest(tasks: Iterable[Task]) -> Task | None:
    """Return the task that changed its state last."""
    # Without Z, because the engine omits a fraction's trailing zeros.
    return max(tasks, key=lambda task: str(task["Status"]["Timestamp"]).rstrip("Z"), default=None)


def explain(manager: Manager, task: Task) -> str:
    """Return the swarm's error for `task`, the reason in its log and where all of that is, and what to do."""
    status = task["Status"]
    error = shown(status.get("Err") or "") or f"the task ended by itself (state {status['State']})"
    found, kept = [f"{named(manager, task)} {status['State']}: {error}"], ""
    if (status.get("ContainerStatus") or {}).get("ExitCode") is not None:
        try:
            log = _log(manager, task)
        except Refusal as problem:
            found.append(f"    (its log can't be read: {problem})")
        else:
            found += [f"    {shown(_EACH_LINE_HAS.sub('', line), longest=LOG_WIDTH)}" for line in _reason(log)]
            kept = _keep(log, task)
    text = "\n".join(found)
    known = ((re.search(pattern, text), advice) for pattern, advice in _KNOWN.items())
    told = next((f"\n  what to do: {match.expand(advice)}" for match, advice in known if match), "")
    return f"{text}{told}{kept}"


def named(manager: Manager, task: Task) -> str:
    """Return the task's id and, once it has one, its node."""
    where = f" on {_hostname(manager, task['NodeID'])}" if task.get("NodeID") else ""
    return f"task {task['ID'][:12]}{where}"


def _hostname(manager: Manager, node_id: str) -> str:
    try:
        return hostname(manager.get(f"/nodes/{node_id}"))
    except Refusal:
        return f"node {node_id}"


def _log(manager: Manager, task: Task) -> list[str]:
    stream = manager.text(f"/tasks/{task['ID']}/logs", stdout="1", stderr="1", tail=str(KEPT_LINES))
    lines = []
    # Engine API, "attach to a container": frames of one byte (the stream), three zeros, four bytes of length, and data.
    while len(stream) >= 8:  # noqa: PLR2004 - the frame's header
        length = int.from_bytes(stream[4:8])
        lines += stream[8 : 8 + length].decode(errors="replace").splitlines()
        stream = stream[8 + length :]
    return lines


def _reason(log: list[str]) -> list[str]:
    """Return the line that names the cause, and the last ones after it; without one, the last lines of the log."""
    lines, in_stack = [], False
    for line in log:
        in_stack = bool(_STACK.match(line) or (in_stack and line))
        if line and not in_stack:
            lines.append(line)
    for cause in _CAUSES:
        for number, line in enumerate(lines):
            if cause.search(line):
                return [line, *lines[number + 1 :][1 - LOG_LINES :]]
    return lines[-LOG_LINES:]


def _keep(log: list[str], task: Task) -> str:
    """Write the log to a file that only its owner may read; return the line that names it."""
    if not log:
        return ""
    try:
        with NamedTemporaryFile("w", prefix=f"msr-cache-{task['ID'][:12]}-", suffix=".log", delete=False) as file:
            file.writelines(f"{shown(line, longest=KEPT_WIDTH)}\n" for line in log)
    except OSError:  # no reason to hide the cause
        return ""
    return f"\n  the whole log: {file.name}"
