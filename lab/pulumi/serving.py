"""How a program serves Pulumi's engine, which has started it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc

from lab.pulumi.protocol import CHANNEL_OPTIONS

_WORKERS = 16


def until_the_engine_ends(register: Callable[[grpc.Server], None]) -> None:
    """Serve on a free port, which the engine reads from standard output; return when the engine has ended or died."""
    engine = os.getppid()
    server = grpc.server(ThreadPoolExecutor(_WORKERS), options=CHANNEL_OPTIONS)
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):  # how the engine ends it
        while os.getppid() == engine:
            time.sleep(0.5)
