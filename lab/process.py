"""A background process that a later run finds again, and that is never mistaken for another one."""

import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

CHECKOUT = Path(__file__).resolve().parents[1]

_PATIENCE = 60.0

# The process records itself before it becomes the command, so that no kill of ours can leave it unrecorded. The start
# time tells it from a later process that was given the same pid.
_RECORD_AND_EXEC = 'echo "$$ $(cut -d" " -f22 /proc/$$/stat)" > "$0"; exec "$@"'


@dataclass(frozen=True)
class Process:
    """`record` is the file that holds its pid and start time; `log` takes what it prints."""

    record: Path
    log: Path

    def start(self, *command: str | Path) -> None:
        if self.pid() is not None:
            return
        self.record.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            # Forked off, so that it is nobody's child: a long test run would keep it as a zombie after its end.
            subprocess.run(
                ["/usr/bin/setsid", "--fork", "sh", "-c", _RECORD_AND_EXEC, str(self.record), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
                check=True,
            )
        wait_until(lambda: self.pid() is not None, f"{command[0]} did not start: see {self.log}")

    def pid(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            pid, started = map(int, self.record.read_text().split())
            if started == start_time(pid):
                return pid
        return None

    def stop(self, *, grace: float = 10) -> None:
        """Ask it to end, make it end after `grace` seconds, and return when it has ended."""
        end(self.pid(), grace=grace)
        self.record.unlink(missing_ok=True)


def start_time(pid: int) -> int | None:
    """The clock tick at which a living process started; None when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(fields[18])
    return None


def end(pid: int | None, *, grace: float) -> None:
    """Ask a process to end, make it end after `grace` seconds, and return when it has ended."""
    if pid is None:
        return
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM if grace else signal.SIGKILL)
            if not select.select([handle], [], [], grace or 5)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], 5)
        finally:
            os.close(handle)


def wait_until(condition: Callable[[], object], otherwise: str) -> None:
    """Return when `condition` holds; LabError(otherwise) when it does not within a minute."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(otherwise)
        time.sleep(0.1)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep out all others that lock this folder; it is locked itself, so there is no file to leave behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
