"""What clients notice of each event in a cache's life, and whether runs that are killed at random points are taken up.

`python -m bench.outages` prints a line for each event and each kill; a killed run that is not taken up ends it.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import create_connection

from docker.errors import DockerException

from lab.client import PullError
from lab.engine import Engine
from lab.process import wait_until
from lab.site import Site
from tests.end_to_end.background import clients_during
from tests.end_to_end.renewal import Handshake, connecting
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm
from tests.end_to_end.test_kill import converged

MANAGERS, WORKERS = 3, 3
KILLS = 20
SERVICE = f"{CACHE}_cache"


@dataclass
class Scene:
    """A cache on workers (managers only manage), and what an operator or fate does to it."""

    stack: Stack
    swarm: Swarm
    nodes: list[Engine]
    changed: dict[str, object] = field(default_factory=dict)

    def deploy(self, **changes: object) -> None:
        self.changed |= changes
        fixed = {"nodes": [node.name for node in self.nodes], "replicas": len(self.nodes)}
        self.stack.configure(fixed | self.changed)
        self.stack.deploy()

    def change_setting(self) -> None:
        self.deploy(blobTtl="36h")

    def renew_certificate(self) -> None:
        self.deploy(tls={"source": "localCa", "validityDays": 99})

    def move(self) -> None:
        spare = next(each for each in self.stack.site.engines[-WORKERS:] if each not in self.nodes)
        self.nodes = [*self.nodes[1:], spare]
        self.deploy()

    def kill_task(self) -> None:
        with closing(self.nodes[0].client()) as docker:
            (container,) = docker.containers.list()
            container.kill()
        wait_until(lambda: not _serves(self.nodes[0]), "the task still serves", seconds=10)
        self._wait_until_all_serve()

    def restart_engine(self) -> None:
        self.nodes[0].stop()
        self.nodes[0].launch()
        self.stack.site.engine.wait()  # a worker does not know which nodes are ready
        self._wait_until_all_serve()

    def kill_leader(self) -> None:
        managers = self.stack.site.engines[:MANAGERS]
        (leader,) = (each for each in managers if self.swarm.inspect("node", each.name)["ManagerStatus"].get("Leader"))
        leader.kill()
        other = next(each for each in managers if each != leader)
        wait_until(lambda: _answers(other), "no manager is elected", seconds=90)
        leader.start()

    def by_hand(self) -> None:
        self.swarm.docker("service", "update", "--force", SERVICE)

    def _wait_until_all_serve(self) -> None:
        wait_until(lambda: all(map(_serves, self.nodes)), "the cache does not come back", seconds=90)


EVENTS: dict[str, Callable[[Scene], None]] = {
    "the swarm's own update": Scene.by_hand,
    "a changed setting": Scene.change_setting,
    "a renewed certificate": Scene.renew_certificate,
    "a moved node": Scene.move,
    "a killed task": Scene.kill_task,
    "a restarted engine": Scene.restart_engine,
    "a killed leader": Scene.kill_leader,
}


def _serves(node: Engine) -> bool:
    with suppress(OSError), create_connection((node.address, PORT), timeout=1):
        return True
    return False


def _answers(manager: Engine) -> bool:
    with suppress(DockerException, OSError), closing(manager.client(timeout=5)) as docker:
        return bool(docker.nodes.list())
    return False


def pulls_during(scene: Scene, event: Callable[[Scene], None]) -> tuple[int, list[str], float]:
    """Return how many pulls succeeded, why others failed, and the longest time without a handshake, in seconds."""
    outputs, addresses = scene.stack.outputs(), [each.address for each in scene.stack.site.engines[-WORKERS:]]
    done: list[float] = []
    failed: list[str] = []

    def pull() -> None:
        try:
            done.append(scene.stack.pull_as(outputs, address=" ".join(addresses)).seconds)
        except PullError as error:
            failed.append(str(error))

    with connecting(*addresses) as seen:
        clients_during(pull, partial(event, scene))
    return len(done), failed, longest_gap(seen)


def longest_gap(seen: list[Handshake]) -> float:
    """Return the longest time from one handshake that succeeded to the next, in seconds."""
    ended = [one.ended for one in seen if one.served]
    return max(later - earlier for earlier, later in itertools.pairwise(ended))


def events(site: Site, folder: Path) -> None:
    """Pull through two replicas, of which one serves at any time, and through one on a host port, which has a gap.

    The client never tries again, so what is under way when a task is killed fails.
    """
    for replicas in (2, 1):
        stack = Stack(folder / f"replicas-{replicas}", site)
        scene = Scene(stack, Swarm(site), site.engines[MANAGERS : MANAGERS + replicas])
        scene.deploy(tls={"source": "localCa"})
        for name, event in EVENTS.items():
            done, failed, gap = pulls_during(scene, event)
            print(
                f"{replicas} replicas, {name}: {done} pulls, {len(failed)} failed; gap {gap * 1000:.0f} ms", flush=True
            )
            for reason in sorted(set(failed))[:3]:
                print(f"    {reason[:300]}", flush=True)
        stack.must(stack.destroy())


def kills(site: Site, folder: Path) -> None:
    """Kill `up`, of a new cache or of a change, and `destroy`; each time the next run must put everything right."""
    stack, swarm, chance = Stack(folder / "killed", site), Swarm(site), random.Random(14)  # noqa: S311 - no secret
    before = swarm.listing()
    seconds = {}
    for command in ("up", "destroy"):
        started = time.monotonic()
        stack.kill(command, lambda: False)
        seconds[command] = time.monotonic() - started

    def kill(command: str, what: str) -> None:
        at = chance.uniform(0.4, 1) * seconds[command]  # until then it only previews
        started = time.monotonic()
        killed = stack.kill(command, lambda: time.monotonic() - started > at)
        stack.unlock()
        print(f"{what} {'killed' if killed else 'ended by itself'} after {at:.1f} s", flush=True)

    for number in range(KILLS):
        if number % 2:
            stack.configure({"blobTtl": "24h"})
            stack.deploy()
            stack.configure({"blobTtl": "36h"})
        kill("up", "up of a change" if number % 2 else "up of a new cache")
        stack.deploy()
        converged(stack, swarm)
        kill("destroy", "destroy")
        if number % 4 > 1:
            stack.deploy(refresh=True)
            converged(stack, swarm)
        stack.must(stack.destroy(refresh=True))
        stack.end_orphans()
        if (left := swarm.listing()) != before:
            raise SystemExit(f"left over: {left}")


def main() -> None:
    """Measure on a site of its own, which grows after the kills."""
    with tempfile.TemporaryDirectory() as name:
        site = Site.start(Path(name))
        try:
            kills(site, Path(name))
            for number in range(MANAGERS + WORKERS - 1):
                added = site.add_worker()
                if number + 1 < MANAGERS:
                    Swarm(site).docker("node", "promote", added.name)
            events(site, Path(name))
        finally:
            site.stop()


if __name__ == "__main__":
    main()
