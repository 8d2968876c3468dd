"""For processes that end with the run (the program, the SDK's plugin host), where looking for garbage only costs."""

from __future__ import annotations

import atexit
import gc


def collect_no_garbage() -> None:
    """Let Python neither search what is imported again and again, nor all of it once more before it leaves."""
    gc.disable()
    atexit.register(gc.freeze)
