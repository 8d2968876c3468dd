"""How a fleet behaves: `python -m bench.fleet` prints the seconds of each command. It takes a quarter of an hour.

The caches have no tasks, so that the time is Pulumi's and ours, and are compared with as many trivial resources.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from lab.site import Site
from tests.end_to_end.stack import CACHE, Stack

CACHES, STACKS = (1, 10, 100), 20
LOOP = """
from pulumi.dynamic import CreateResult
from msr_cache.resources.provider import SwarmProvider
from msr_cache.resources.tracked import Tracked

class Nothing(SwarmProvider):
    def create(self, props):
        return CreateResult("nothing", props)

class Trivial(Tracked, provider=Nothing):
    pass

for number in range({}):
    Trivial(f"n{{number}}", {{"number": number}})
"""


def life(what: str, stack: Stack) -> int:
    """Print how long each command of a stack's life takes; return how many resources it had."""
    taken = [f"{command} {stack.must(getattr(stack, command)()).seconds:.1f} s" for command in ("up", "preview")]
    count = len(stack.resources())
    taken += [f"{command} {stack.must(getattr(stack, command)()).seconds:.1f} s" for command in ("refresh", "destroy")]
    print(f"{what}, {count} resources: {', '.join(taken)}", flush=True)
    return count


def caches(stack: Stack, numbers: range) -> None:
    """Configure a cache for each number, on a port and a label of its own."""
    template = stack.config()["caches"][CACHE] | {"replicas": 0}
    stack.configure(caches={f"c{n}": template | {"port": 10000 + n, "label": f"dtr.cache.c{n}"} for n in numbers})


def main() -> None:
    """Measure on a site of its own."""
    with tempfile.TemporaryDirectory() as name:
        site = Site.start(Path(name))
        try:
            stack, loop = Stack(Path(name, "caches"), site), Stack(Path(name, "loop"), site)
            for count in CACHES:
                caches(stack, range(count))
                resources = life(f"{count} caches", stack)
            (loop.folder / "__main__.py").unlink()
            (loop.folder / "__main__.py").write_text(LOOP.format(resources))
            life("a loop", loop)
            stacks = [Stack(Path(name, f"stack{number}"), site) for number in range(STACKS)]
            for command in ("up", "preview", "destroy"):
                started = time.monotonic()
                for number, each in enumerate(stacks):
                    caches(each, range(number, number + 1))
                    each.must(getattr(each, command)())
                print(f"{STACKS} stacks in turn: {command} {time.monotonic() - started:.1f} s", flush=True)
        finally:
            site.stop()


if __name__ == "__main__":
    main()
