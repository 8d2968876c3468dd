"""What waits in a thread when the run is interrupted is waited for; what does not, is not."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from msr_cache.refusal import Refusal
from msr_cache.rollout import interruption


@pytest.fixture(autouse=True)
def not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "interrupted", threading.Event())


def test_an_interrupt_reaches_what_waits_and_says_that_something_does() -> None:
    started = threading.Event()

    def wait() -> None:
        started.set()
        assert interruption.interrupted.wait(10)
        raise Refusal("interrupted")

    async def run() -> bool:
        hook = asyncio.create_task(interruption.in_thread(wait))
        await asyncio.to_thread(started.wait, 10)
        waits = interruption.interrupt()
        with pytest.raises(Refusal):
            await hook
        return waits

    assert asyncio.run(run())


def test_an_interrupt_says_that_nothing_waits_any_more() -> None:
    asyncio.run(interruption.in_thread(lambda: None))
    assert not interruption.interrupt()


def test_a_hook_gets_a_thread_though_the_sdks_all_wait_for_the_engine() -> None:
    """A preview of 100 caches waited without end: the engine for hooks, and the requests in all threads for it."""
    engine_goes_on = threading.Event()

    async def run() -> bool:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        request = loop.run_in_executor(None, engine_goes_on.wait)
        try:
            await asyncio.wait_for(interruption.in_thread(engine_goes_on.set), timeout=5)
        finally:
            engine_goes_on.set()
        return await request

    assert asyncio.run(run())
