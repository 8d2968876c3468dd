"""Something that goes on beside what a scenario does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeatedly(act: Callable[[], None], every: float) -> Iterator[None]:
    """Do it again and again, beginning each time so many seconds after the last, or at once where it took longer."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            began = time.monotonic()
            act()
            over.wait(max(0, began + every - time.monotonic()))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
