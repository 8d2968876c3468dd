"""Something that goes on beside what a scenario does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

CLIENTS, PULLS = 8, 200
_PAUSE = 2
"""Seconds between a client's pulls: with less, clients use up the machine on which they wait for an event."""


def clients_during(pull: Callable[[], None], event: Callable[[], object]) -> None:
    """Let 8 clients pull side by side, 200 times in all or as long as the event takes, every two seconds each."""
    over = threading.Event()

    def client() -> None:
        pulled = 0
        while pulled < PULLS / CLIENTS or not over.is_set():
            pulled += 1
            pull()
            over.wait(_PAUSE)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client) for _ in range(CLIENTS)]
        time.sleep(1)
        try:
            event()
        finally:
            over.set()
        for each in clients:
            each.result()


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
