"""Runs: a program over a stack's state, or the state alone."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
from pulumi.runtime import Settings, configure, run_in_stack, set_all_config

from lab.rehearsal.display import Display
from lab.rehearsal.errors import EngineError
from lab.rehearsal.monitor import Engine, Monitor
from lab.rehearsal.project import Project, refuse_other_swarms
from lab.rehearsal.state import State
from lab.rehearsal.steps import Deployment
from lab.rehearsal.values import Props, plain, secret

THREADS = 16
"""How many resources are worked on at once."""


class Runner:
    """The commands that change a stack, or say what would change."""

    def __init__(self, project: Project, *, diff: bool, log: Path | None) -> None:
        self._project = project
        self._diff = diff
        self._log = log
        self._state = State.load(project)
        self._texts, self._secret_keys = project.config()
        for resource in self._state.resources:
            if resource.type == "pulumi:providers:docker":
                refuse_other_swarms(resource.name, plain(resource.inputs).get("host"))

    def preview(self, *, refresh: bool) -> Display | None:
        """Say what `up` would do; None when it would fail."""
        return self._with_program("Previewing update", preview=True, refresh=refresh)

    def up(self, *, refresh: bool, preview: bool) -> Display | None:
        """Do what the program wants, after a preview that would not fail."""
        self._warn_of_pending()
        if preview and not self._previewed(refresh=refresh):
            return None
        return self._with_program("Updating", preview=False, refresh=refresh)

    def _previewed(self, *, refresh: bool) -> bool:
        """Preview in a process of its own, as Pulumi does: a program may keep things in its modules."""
        if child := os.fork():
            return os.waitpid(child, 0)[1] == 0
        self._log = None
        ok = self.preview(refresh=refresh)
        sys.stdout.flush()
        os._exit(0 if ok else 1)

    def refresh(self) -> Display | None:
        self._warn_of_pending()
        return self._without_program("Refreshing", Deployment.refresh)

    def destroy(self, *, refresh: bool) -> Display | None:
        return self._without_program("Destroying", Deployment.destroy, refresh=refresh)

    def _warn_of_pending(self) -> None:
        for urn in self._state.pending:
            print(
                f"warning: a former run was interrupted while creating {urn}: what it has made, no state knows",
                flush=True,
            )

    def _without_program(
        self, title: str, work: Callable[[Deployment], None], *, refresh: bool = False
    ) -> Display | None:
        started = time.monotonic()
        display, deployment = self._begin(title, preview=False)
        if refresh:
            deployment.refresh(count=False)
            if deployment.failed:
                return None
            deployment = self._deployment(display, preview=False)
        work(deployment)
        display.summary(time.monotonic() - started)
        return None if deployment.failed else display

    def _with_program(self, title: str, *, preview: bool, refresh: bool) -> Display | None:
        started = time.monotonic()
        display, deployment = self._begin(title, preview=preview)
        kept = list(self._state.resources)
        if refresh:
            deployment.refresh(count=False)
            if deployment.failed:
                return None
            deployment = self._deployment(display, preview=preview)
        ok = contextvars.Context().run(self._run, deployment, display, preview=preview)
        if ok:
            deployment.finish()
        if preview:
            self._state.resources = kept
        display.summary(None if preview else time.monotonic() - started)
        if deployment.failed:
            display.say("error", "preview failed" if preview else "update failed")
        return display if ok and not deployment.failed else None

    def _begin(self, title: str, *, preview: bool) -> tuple[Display, Deployment]:
        print(f"{title} ({self._project.stack}):", flush=True)
        display = Display(diff=self._diff, preview=preview, log=self._log)
        return display, self._deployment(display, preview=preview)

    def _deployment(self, display: Display, *, preview: bool) -> Deployment:
        config: Props = {key: secret(text) if key in self._secret_keys else text for key, text in self._texts.items()}
        return Deployment(self._state, display, config, self._project.name, preview=preview)

    def _run(self, deployment: Deployment, display: Display, *, preview: bool) -> bool:
        """Run the program as the SDK's language host does; False when it failed."""
        name, stack, folder = self._project.name, self._project.stack, self._project.folder
        settings = Settings(
            project=name,
            stack=stack,
            monitor=Monitor(deployment, name, stack),
            engine=Engine(display),
            dry_run=preview,
            organization="organization",
            root_directory=str(folder),
        )
        configure(settings)
        pulumi.runtime.settings.ROOT.set(None)
        set_all_config(dict(self._texts), list(self._secret_keys))
        # The SDK leaves futures unobserved where a program fails, as its own host says, which asyncio would report.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            loop.run_until_complete(run_in_stack(lambda: _execute(folder)))
        except (pulumi.RunError, EngineError) as error:
            display.say("error", str(error))
            display.say("error", "an unhandled error occurred: program exited with non-zero exit code: 1")
        except Exception as error:  # noqa: BLE001 - whatever the program raises
            display.say("error", f"Program failed with an unhandled exception:\n{_trace(error, folder)}")
        else:
            return True
        finally:
            signal.signal(signal.SIGINT, interrupt)
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        return False


def _execute(folder: Path) -> None:
    os.chdir(folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    runpy.run_path(str(folder / "__main__.py"), run_name="__main__")


def _trace(error: Exception, folder: Path) -> str:
    """Return the traceback from the program on: what called it is ours."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [index for index, (frame, _) in enumerate(frames) if frame.f_code.co_filename == str(folder / "__main__.py")]
    return "".join(traceback.format_exception(error, limit=(own[0] if own else 0) - len(frames)))
