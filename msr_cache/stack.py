"""The whole program: reads a stack's config, declares its caches, and exports the outputs."""

import asyncio
import signal
from collections.abc import Mapping
from types import FrameType

import pulumi
from pulumi.runtime.stack import wait_for_rpcs

from msr_cache import by_hand, certificate, moves, volume
from msr_cache.cache import MsrCache
from msr_cache.config import image_registries
from msr_cache.config.validation import checked
from msr_cache.refusal import Refusal
from msr_cache.resources.state_id import StateId
from msr_cache.rollout.interruption import interrupt
from msr_cache.scope import Site
from msr_cache.swarm.manager import Address, Manager


def end_quietly_when_interrupted() -> None:
    """Exit when the engine interrupts the program, as it does after each failed step; at once at a second interrupt.

    For a KeyboardInterrupt, the SDK prints two tracebacks of its own below the error that the operator needs.
    """

    def leave(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not interrupt():
            raise SystemExit(1)

    signal.signal(signal.SIGINT, leave)


async def declare(config: Mapping[str, str]) -> None:
    """Declare what `config` asks for; a mistake in it ends the run before more than the state's id is declared."""
    try:
        settings, raw = checked(config, pulumi.get_project())
        address = Address.from_config(settings.swarm.model_dump(by_alias=True), raw.get(image_registries.KEY))
        manager = Manager(address)
        nodes = await asyncio.to_thread(manager.get, "/nodes")
        # Declared first: only by its id does the check tell this state's labels from those of another of its names.
        state_id = StateId("state-id", {"value": settings.state_id}).value
        about_nodes = await asyncio.to_thread(moves.check, manager, nodes, settings, await state_id.future())
        settings, about_trust = await certificate.kept(settings)
        adopted = await asyncio.to_thread(by_hand.adopted, manager, nodes, settings)
    except Refusal as error:
        # Pulumi prints a RunError as it is, without a traceback.
        raise pulumi.RunError(str(error)) from None
    about_settings = (*settings.warnings(), *volume.warnings(settings))
    for warning in (*about_settings, *manager.warnings(), *about_nodes, *about_trust, *adopted.warnings):
        pulumi.log.warn(warning)
    for text in adopted.changes:
        pulumi.log.info(text)
    site = Site(settings, state_id, address, nodes, adopted.services)
    try:
        caches = {name: MsrCache(name, site) for name in settings.upstreams_first()}
    finally:  # or, after an error, the labels that wait for it would keep the run from its end
        site.declared.set()
    if len(caches) == 1:
        pulumi.export("cacheUrl", next(iter(settings.caches.values())).url)
    pulumi.export("caches", pulumi.Output.all(**{name: cache.outputs for name, cache in caches.items()}))
    # By default the SDK checks all open outputs each time that one of them resolves.
    await wait_for_rpcs(await_all_outstanding_tasks=False)
