"""The engine's commands, in Pulumi's words: `python -m lab.rehearsal preview | up | refresh | destroy | stack ...`."""

from __future__ import annotations

import argparse
import json
import sys

# Where the SDK's host for dynamic resources has it, too: see dynamic_provider.
import traceback  # noqa: F401
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.rehearsal.project import Project

if TYPE_CHECKING:
    from lab.rehearsal.display import Display

FRANK = (
    "This is the lab's rehearsal engine, not Pulumi: it knows a few resource types and works on a lab's swarm only. "
    "For real sites use Pulumi."
)
CHANGES_PROPOSED = 7
"""Pulumi's exit code where no changes were expected."""


def main() -> int:
    """Run a command; return its exit code."""
    options = _arguments()
    print(FRANK, file=sys.stderr if options.command == "stack" else sys.stdout, flush=True)
    try:
        project = Project.open(Path.cwd(), options.stack)
        return _stack(project, options) if options.command == "stack" else _run(project, options)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(project: Project, options: argparse.Namespace) -> int:
    # These import the SDK, for which a wrong option or a lock need not wait.
    from lab.rehearsal.run import Runner
    from lab.rehearsal.state import locked

    with locked(project.state_file):
        runner = Runner(project, diff=options.diff, log=options.event_log)
        commands: dict[str, Callable[[], Display | None]] = {
            "preview": lambda: runner.preview(refresh=options.refresh),
            "up": lambda: runner.up(refresh=options.refresh, preview=not options.skip_preview),
            "refresh": runner.refresh,
            "destroy": lambda: runner.destroy(refresh=options.refresh),
        }
        done = commands[options.command]()
    if done is None:
        return 1
    if options.expect_no_changes and done.changes:
        print(f"error: no changes were expected for {options.command} but changes were proposed", file=sys.stderr)
        return CHANGES_PROPOSED
    return 0


def _stack(project: Project, options: argparse.Namespace) -> int:
    from lab.rehearsal.errors import EngineError
    from lab.rehearsal.state import State
    from lab.rehearsal.values import has_secret, plain

    state = State.load(project)
    if options.what == "export":
        resources = state.export(None if options.show_secrets else project.crypter.encrypt)
        print(json.dumps({"version": 3, "deployment": {"resources": resources}}, indent=4))
        return 0
    shown = {
        key: plain(value) if options.show_secrets or not has_secret(value) else "[secret]"
        for key, value in state.outputs.items()
    }
    if options.name is not None:
        if options.name not in shown:
            raise EngineError(f"current stack does not have output property '{options.name}'")
        value = shown[options.name]
        print(json.dumps(value) if options.json or not isinstance(value, str) else value)
    elif options.json:
        print(json.dumps(shown, indent=2, sort_keys=True))
    else:
        for key, value in shown.items():
            print(f"{key}  {value if isinstance(value, str) else json.dumps(value)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.rehearsal", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("preview", "up", "refresh", "destroy"):
        command = commands.add_parser(name)
        command.add_argument("--stack", "-s")
        command.add_argument("--diff", action="store_true", help="what changes in each resource")
        command.add_argument("--yes", "-y", action="store_true", help="taken for granted: this engine never asks")
        command.add_argument("--expect-no-changes", action="store_true", help="fail if there are any")
        command.add_argument("--event-log", type=Path, help="append a JSON object for each step")
        command.add_argument("--non-interactive", action="store_true", help="taken for granted")
        if name != "refresh":
            command.add_argument("--refresh", "-r", action="store_true", help="look first at what is there by now")
        if name == "up":
            command.add_argument("--skip-preview", "-f", action="store_true")
    stack = commands.add_parser("stack").add_subparsers(dest="what", required=True)
    for name in ("output", "export"):
        command = stack.add_parser(name)
        command.add_argument("--stack", "-s")
        command.add_argument("--show-secrets", action="store_true")
        if name == "output":
            command.add_argument("name", nargs="?")
            command.add_argument("--json", "-j", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
