"""Ends what waits for the swarm when the run is interrupted: a trial is removed, and the engine gets its answer."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

interrupted = threading.Event()
_waiting: set[object] = set()
_P = ParamSpec("_P")
_T = TypeVar("_T")
_threads = ThreadPoolExecutor(32)
"""Not the loop's own: the SDK has a request of each resource wait there, and with 100 caches these take all threads."""


def interrupt() -> bool:
    """Let everything that waits raise Refusal; return whether anything does, because the engine waits for that too."""
    interrupted.set()
    return bool(_waiting)


async def in_thread(work: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    """Run `work`, which may wait, in a thread: the SDK declares all resources, and runs all hooks, in a single one."""
    this = object()
    _waiting.add(this)
    try:
        # With the run's context, in which the SDK keeps what `pulumi.log` needs.
        call = partial(contextvars.copy_context().run, work, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(_threads, call)
    finally:
        _waiting.discard(this)
