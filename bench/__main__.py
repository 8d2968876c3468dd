"""Runs every measurement, prints a line for each, and exits with 1 where a promise is not kept."""

from __future__ import annotations

import compileall
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.fleet import caches
from lab.site import Site
from tests.end_to_end.stack import CACHE, CHECKOUT, Stack
from tests.end_to_end.swarm import Swarm

RUNS = 7
FLEET = 50
SEVERAL = 10
PROVIDERS_ALONE = """
import pulumi_docker, pulumi_tls, pydantic, yaml
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Nothing(ResourceProvider):
    def create(self, props):
        return CreateResult("nothing", {})


class Trivial(Resource):
    pass


pulumi_docker.Provider("swarm", host="HOST")
pulumi_tls.Provider("tls")
Trivial(Nothing(), "nothing", {})
"""
"""The shortest program with the same packages, plugins and kinds of resources."""


def median(run: Callable[[], object]) -> float:
    """Return the median of the seconds that `run` takes, after one run that is not counted."""
    run()
    taken = []
    for _ in range(RUNS):
        started = time.monotonic()
        run()
        taken.append(time.monotonic() - started)
    return statistics.median(taken)


def promise(what: str, found: float, most: float, unit: str, of_what: str) -> bool:
    """Print one measurement; return whether it is within its bound."""
    kept = found <= most
    print(f"{'ok  ' if kept else 'SLOW'} {what}: {found:.2f} {unit} (at most {most:g}); {of_what}")
    return kept


def one_cache_and_providers_alone(site: Site, folder: Path) -> tuple[bool, float]:
    """A no-op preview of one cache against that of a program with the same providers and nothing else."""
    alone = Stack(folder / "alone", site)
    (alone.folder / "__main__.py").unlink()
    (alone.folder / "__main__.py").write_text(PROVIDERS_ALONE.replace("HOST", site.engine.docker_host))
    one = Stack(folder / "one", site)
    for stack in (alone, one):
        stack.deploy()
    seconds = {name: median(lambda s=stack: s.ask("preview")) for name, stack in (("alone", alone), ("one", one))}
    one.must(one.destroy())
    ratio = seconds["one"] / seconds["alone"]
    figures = f"{seconds['one']:.2f} s against {seconds['alone']:.2f} s"
    return promise("no-op preview of one cache", ratio, 1.5, "times the providers' alone", figures), seconds["one"]


def fleet(site: Site, folder: Path, one: float) -> bool:
    """A no-op preview of many caches."""
    stack = Stack(folder / "fleet", site)
    caches(stack, range(FLEET))
    stack.deploy()
    seconds = median(lambda: stack.ask("preview"))
    stack.must(stack.destroy())
    each = (seconds - one) / (FLEET - 1) * 1000
    return promise(f"no-op preview of {FLEET} caches", each, 60, "ms for each further cache", f"{seconds:.2f} s in all")


def changed_line(site: Site, folder: Path) -> bool:
    """`up` of one changed line of config.yml against the swarm's own update of the same service."""
    stack, swarm = Stack(folder / "changed", site), Swarm(site)
    stack.deploy()
    hours = iter(range(1, 100))

    def up() -> None:
        stack.configure({"blobTtl": f"{next(hours)}h"})
        stack.deploy()

    def by_hand() -> None:
        swarm.docker("service", "update", "--force", f"{CACHE}_cache")

    ours, theirs = median(up), median(by_hand)
    stack.must(stack.destroy(refresh=True))
    return promise(
        "up of one changed line",
        ours - theirs,
        3,
        "s more than the swarm's own",
        f"{ours:.1f} s against {theirs:.1f} s",
    )


def changed_lines(site: Site, folder: Path) -> bool:
    """`up` of one changed line in each of several caches against `up` of one in one of them."""
    stack = Stack(folder / "several", site)
    template = stack.config()["caches"][CACHE]
    names = [f"c{number}" for number in range(SEVERAL)]
    seconds = {}
    for changed, hours in (([], 24), (names[:1], 25), (names, 26)):
        caches = {
            name: template | {"port": 10000 + number, "label": f"dtr.cache.{name}", "blobTtl": "24h"}
            for number, name in enumerate(names)
        }
        stack.configure(caches=caches | {name: caches[name] | {"blobTtl": f"{hours}h"} for name in changed})
        seconds[len(changed)] = stack.deploy().seconds
    stack.must(stack.destroy())
    figures = f"{seconds[SEVERAL]:.1f} s against {seconds[1]:.1f} s"
    return promise(f"up of {SEVERAL} changed caches", seconds[SEVERAL] / seconds[1], 2.5, "times one's", figures)


def main() -> int:
    """Measure on a site of its own."""
    # As an operator's first run does; where PYTHONDONTWRITEBYTECODE is set, each run would compile the program anew.
    compileall.compile_dir(CHECKOUT / "msr_cache", quiet=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = Site.start(folder)
        try:
            kept, one = one_cache_and_providers_alone(site, folder)
            kept &= changed_line(site, folder)
            kept &= changed_lines(site, folder)
            kept &= fleet(site, folder, one)
        finally:
            site.stop()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
