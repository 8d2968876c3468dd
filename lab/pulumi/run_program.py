"""Runs a Pulumi program for the language host, which gives its RunRequest on standard input, as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import Settings, configure, run_in_stack, set_all_config


def main() -> int:
    """Run the program; return its exit code."""
    # The engine interrupts a program whose run has failed: its threads' stack traces would hide the reason.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    request: dict[str, Any] = json.load(sys.stdin)
    parallel = max(request["parallel"], 1)
    set_all_config(request["config"], request["configSecretKeys"])
    settings = {key: request[key] for key in ("project", "stack", "organization", "engine")}
    where = {"monitor": request["monitor_address"], "root_directory": request["info"]["root_directory"]}
    configure(Settings(**settings, **where, parallel=parallel, dry_run=request["dryRun"]))
    entry = request["info"]["entry_point"]
    sys.argv = [entry, *request["args"]]
    # asyncio complains of each future that nobody waited for, which is how a failed program ends.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with ThreadPoolExecutor(parallel * 4) as threads:
        loop.set_default_executor(threads)
        try:
            loop.run_until_complete(run_in_stack(lambda: _run(entry)))
        except pulumi.RunError as error:
            pulumi.log.error(str(error))
            return 1
        except Exception as error:  # noqa: BLE001 - whatever the program raises
            frames = traceback.extract_tb(error.__traceback__)
            main_file = str(Path(entry).resolve() / "__main__.py")
            own = [number for number, frame in enumerate(frames) if frame.filename == main_file]
            told = traceback.format_exception(error, limit=(own or [0])[0] - len(frames))
            pulumi.log.error(f"Program failed with an unhandled exception:\n{''.join(told)}")
            return int(request["has_told"])
    return 0


def _run(entry: str) -> None:
    """Return nothing: what a program returns is taken for its outputs."""
    runpy.run_path(entry, run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
