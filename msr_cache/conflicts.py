"""What somebody else has under a new cache's name, in MSR or as a secret: refused before anything of any cache is made.

The resources that would collide with it refuse it, too, but after what they depend on is made.
"""

from dataclasses import replace

import pulumi

from msr_cache.config.settings import Settings
from msr_cache.msr.api import Credentials, Msr
from msr_cache.resources.registration import adoptable
from msr_cache.resources.swarm_file import name_of
from msr_cache.rollout.interruption import in_thread
from msr_cache.scope import Scope
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.ownership import EXISTS, Owner, refuse_other_owner
from msr_cache.upstreams import Upstreams


def hook(scope: Scope, upstreams: Upstreams) -> pulumi.ResourceHook:
    """Return a hook for before the create of the first of a cache's resources: the state knows nothing of it then."""

    async def refuse(_: pulumi.ResourceHookArgs) -> None:
        # Not the generated key and what is made of it: nobody else can have them.
        files = {file: await pem.future() or "" for file, pem in upstreams.cas.items()}
        if (given := scope.cache.tls.given) and given.key:
            files["cache.key.pem"] = given.key
        owner = replace(scope.owner, state=await scope.site.state_id.future())
        ca = await scope.site.msr_ca.pem.future() if scope.site.msr_ca else None
        await in_thread(refuse_files, Manager(scope.site.address), owner, files)
        await in_thread(refuse_entry, scope.settings, scope.name, ca)

    return pulumi.ResourceHook(f"{scope.name}-conflicts", refuse)


def refuse_files(manager: Manager, owner: Owner, files: dict[str, str]) -> None:
    """Raise Refusal for a secret of the name that one of `files` gets, unless it is the `owner`'s."""
    for file, data in files.items():
        name = name_of(f"{owner.cache}_{file}", data)
        if found := manager.find(f"/secrets/{name}"):
            refuse_other_owner(f"secret {name}", found["Spec"].get("Labels"), owner.labels(file), EXISTS)


def refuse_entry(settings: Settings, name: str, ca: str | None) -> None:
    """Raise Refusal for an entry in MSR that registerInMsr would collide with."""
    wanted, account = settings.caches[name].register_in_msr, Credentials.from_settings(settings.msr)
    if not wanted or not account:
        return
    adoptable(
        Msr(settings.msr.url, ca, account).entries(),
        {"name": name, "host": settings.caches[name].url, "adopt": wanted.adopt},
    )
