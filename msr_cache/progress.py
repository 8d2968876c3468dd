"""Says in Pulumi's display what a run waits for: a line for each wait of more than two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

LONG = 2.0
"""Seconds of a wait that need no word."""
AGAIN = 60.0
"""Seconds after which the same is said once more."""


def tell(what: str) -> None:
    """Print a line. A provider's process has no engine to log to; Pulumi shows what it prints."""
    # Imported here because `python -m msr_cache` does without.
    import pulumi

    pulumi.log.info(f"waiting for {what}")


@contextmanager
def slowly(what: str) -> Iterator[None]:
    """Tell what the block waits for, if it takes long."""
    timer = threading.Timer(LONG, copy_context().run, [tell, what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Progress:
    """Of a wait that looks again and again: tells what it waits for, each time that this has changed."""

    def __init__(self) -> None:
        self._looked = self._told_at = time.monotonic()
        self._told = ""

    def look(self, what: Callable[[], str]) -> None:
        """Tell `what()`, which may ask the swarm, unless it was told or too little time has passed."""
        now = time.monotonic()
        if now - self._looked < LONG:
            return
        self._looked = now
        if (text := what()) != self._told or now - self._told_at >= AGAIN:
            self._told, self._told_at = text, now
            tell(text)
