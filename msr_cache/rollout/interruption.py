"""Ends what waits for the swarm when the run is interrupted: a trial is removed, and the engine gets its answer."""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

interrupted = threading.Event()
_waiting: set[object] = set()
_P = ParamSpec("_P")
_T = TypeVar("_T")


def interrupt() -> bool:
    """Let everything that waits raise Refusal; return whether anything does, because the engine waits for that too."""
    interrupted.set()
    return bool(_waiting)


async def in_thread(work: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    """Run `work`, which may wait, in a thread: the SDK declares all resources, and runs all hooks, in a single one."""
    this = object()
    _waiting.add(this)
    try:
        return await asyncio.to_thread(work, *args, **options)
    finally:
        _waiting.discard(this)
