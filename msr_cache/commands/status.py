"""`python -m msr_cache status`: whether the caches of the selected stack serve, and what needs an operator.

It reads the stack's config and outputs via the `pulumi` command, asks the swarm's manager and MSR, and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from msr_cache.commands import pulumi_cli
from msr_cache.config import cache_defaults
from msr_cache.config.settings import Settings
from msr_cache.config.validation import validate
from msr_cache.foreign import shown
from msr_cache.msr import api
from msr_cache.refusal import Refusal
from msr_cache.resources import msr_ca
from msr_cache.resources.provider import Props
from msr_cache.rollout import convergence, diagnosis
from msr_cache.swarm.manager import Address, Manager
from msr_cache.swarm.nodes import Nodes, hostname

NO_CHECK = "-"


@dataclass
class Status:
    """A row of the table, whose texts are `-` where nothing was asked for; `problems` need an operator."""

    cache: str
    tasks: str = "?"
    nodes: str = "?"
    certificate: str = "?"
    msr_ca: str = NO_CHECK
    msr_entry: str = NO_CHECK
    problems: list[str] = field(default_factory=list)

    def check(self, step: Callable[[], None]) -> None:
        """Take the reason why a step can't tell for a problem, and go on."""
        try:
            step()
        except Refusal as error:
            self.problems.append(str(error))


def main(arguments: list[str]) -> None:
    """Print a table, or JSON for monitors; exit with 1 if anything needs an operator."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache status", description=__doc__)
    parser.add_argument("--stack", help="another stack than the selected one")
    parser.add_argument("--json", action="store_true", help="for monitors: one object with an entry for each cache")
    options = parser.parse_args(arguments)
    settings = _settings(pulumi_cli.config(options.stack))
    manager = Manager(Address.from_config(settings.swarm.model_dump(by_alias=True)))
    found = list(statuses(settings, manager, pulumi_cli.outputs(options.stack).get("caches") or {}))
    print(json.dumps({each.cache: asdict(each) for each in found}, indent=2) if options.json else table(found))
    sys.exit(any(each.problems for each in found))


def _settings(raw: Mapping[str, Any]) -> Settings:
    settings, mistakes = validate(cache_defaults.applied(raw))
    if settings is None or mistakes:
        raise Refusal("this stack's config has mistakes, which pulumi preview lists")
    return settings


def statuses(settings: Settings, manager: Manager, outputs: Mapping[str, Any]) -> Iterator[Status]:
    """Yield the status of each cache of the config; `outputs` is the stack output `caches`, of the last `up`."""
    nodes = _asked(partial(manager.get, "/nodes"))
    offered = None if settings.msr.ca == "system" else _asked(partial(msr_ca.accepted, msr_ca.inputs_of(settings.msr)))
    for name in settings.caches:
        status, output = Status(name), outputs.get(name)
        if output is None:
            status.problems.append("the stack has no such cache yet: run pulumi up")
        else:
            status.check(partial(_tasks, status, manager, nodes, output["service"], settings.caches[name].replicas))
            status.check(partial(_certificate, status, settings, output["certificateExpires"]))
            status.check(partial(_msr, status, settings, offered, output))
        yield status


def _asked(ask: Callable[[], Any]) -> Future[Any]:
    """Ask once for all caches; each of them gets the answer, or the reason why there is none."""
    answer = Future[Any]()
    try:
        answer.set_result(ask())
    except Refusal as error:
        answer.set_exception(error)
    return answer


def _tasks(status: Status, manager: Manager, nodes: Future[Nodes], name: str, wanted: int) -> None:
    service = manager.find(f"/services/{name}")
    if service is None:
        status.tasks, status.nodes = "gone", "none"
        raise Refusal(convergence.GONE.format(name))
    tasks = convergence.current_tasks(manager, service)
    running = convergence.running(tasks)
    names = {node["ID"]: hostname(node) for node in nodes.result()}
    status.tasks = f"{len(running)}/{wanted}"
    status.nodes = ", ".join(sorted({names.get(task.get("NodeID"), "a node that left") for task in running})) or "none"
    if len(running) < wanted:
        culprit = diagnosis.newest(task for task in tasks if task["Status"].get("Err"))
        # Without its log, of which `explain` would keep a copy each time that a monitor asks.
        cause = f"{diagnosis.named(manager, culprit)}: {shown(culprit['Status']['Err'])}; " if culprit else ""
        raise Refusal(f"{len(running)} of {wanted} tasks run: {cause}see docker service ps {name}")


def _certificate(status: Status, settings: Settings, expires: str) -> None:
    status.certificate = f"until {expires[:10]}"
    tls = settings.caches[status.cache].tls
    given = tls.certificate is not None
    # A certificate that you give takes time to get: `up` warns of it as early.
    if datetime.fromisoformat(expires) - datetime.now(UTC) <= timedelta(days=tls.renew_days * (2 if given else 1)):
        todo = "set a renewed one as tls.certificate" if given else "run pulumi up, which makes a new one"
        raise Refusal(f"the certificate expires on {expires[:10]}: {todo}")


def _msr(status: Status, settings: Settings, offered: Future[Props] | None, output: Mapping[str, Any]) -> None:
    """Compare MSR's CA with the one that the cache trusts, then the entry and accounts with the settings."""
    msr, pem = settings.msr, None
    if offered:
        pem, sha256 = offered.result()["pem"], offered.result()["sha256"]
        same = sha256 == output["msrCaSha256"]
        status.msr_ca = "as trusted" if same else "differs"
        if not same:
            found = f"MSR at {msr.url} has another CA: found SHA-256 {sha256}, expected"
            status.problems.append(f"{found} {output['msrCaSha256']}: see docs/trust.md")
    if (wanted := settings.caches[status.cache].register_in_msr) and (account := api.Credentials.from_settings(msr)):
        _entry(status, api.Msr(msr.url, pem, account), output["registration"], wanted.users)


def _entry(status: Status, msr: api.Msr, registration: Mapping[str, str], users: list[str]) -> None:
    name, host = registration["name"], registration["host"]
    entry = next((each for each in msr.entries() if (each.name, each.host) == (name, host)), None)
    if not entry:
        status.msr_entry = "missing"
        raise Refusal(f"MSR has no entry {name} at {host}: run pulumi up --refresh")
    elsewhere = [user for user in users if msr.cache_of(user) != entry.id]
    status.msr_entry = f"{len(users) - len(elsewhere)}/{len(users)} accounts"
    if elsewhere:
        raise Refusal(f"MSR does not send {', '.join(elsewhere)} to the cache: run pulumi up --refresh")


def table(found: list[Status]) -> str:
    """Return the rows in columns, and below them what needs an operator."""
    titles = [key.upper().replace("_", " ") for key in asdict(Status("")) if key != "problems"]
    rows = [titles, *([text for key, text in asdict(each).items() if key != "problems"] for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"{each.cache}: {problem}" for each in found for problem in each.problems)])
