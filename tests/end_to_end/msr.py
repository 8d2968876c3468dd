"""The site's MSR as its admins and users see it, and a stack that is registered in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.client import PullResult, pull
from lab.msr_api import ADMIN, PASSWORDS
from lab.site import Site
from msr_cache.x509.pem import sha256_of
from tests.end_to_end.stack import CACHE, PORT, Stack


@dataclass(frozen=True)
class MsrPage:
    """What MSR's web page shows and lets one change."""

    site: Site

    def caches(self) -> dict[str, dict[str, str]]:
        """Return name and host of each content cache by its id."""
        with self.site.msr.book() as known:
            return {id_: {"name": entry["name"], "host": entry["host"]} for id_, entry in known["caches"].items()}

    def only_id(self) -> str:
        """Return the id of the one content cache there is."""
        (id_,) = self.caches()
        return id_

    def points_at(self, user: str) -> str:
        """Return the id of the cache that a user pulls through; empty for none."""
        with self.site.msr.book() as known:
            return str(known["settings"].get(user, ""))

    def edit(self, id_: str, **changed: str) -> None:
        """Change an entry, or make one."""
        with self.site.msr.book() as known:
            known["caches"].setdefault(id_, {"id": id_}).update(changed)

    def remove(self, id_: str) -> None:
        with self.site.msr.book() as known:
            del known["caches"][id_]

    def point(self, user: str, id_: str) -> None:
        with self.site.msr.book() as known:
            known["settings"][user] = id_

    def clear(self) -> None:
        """Forget all caches and settings."""
        with self.site.msr.book() as known:
            known["caches"].clear()
            known["settings"].clear()

    def blob_bytes(self) -> int:
        """Return how many bytes of blobs MSR itself has sent so far, to clients and caches."""
        return sum(int(line.split()[3]) for line in self.site.msr.requests() if "/blobs/" in line and " 200 " in line)


@contextmanager
def without_msr(stack: Stack) -> Iterator[None]:
    """Stop MSR, and start it again at the end."""
    stack.site.msr.stop()
    try:
        yield
    finally:
        stack.site.msr.start()


def pinned(site: Site) -> dict[str, Any]:
    """Return `msr-cache:msr` with the pin that credentials need."""
    return {"url": site.msr.url, "ca": {"sha256": sha256_of(site.msr.ca_pem())}}


def register(
    stack: Stack, wish: object = True, user: str = ADMIN, secret: str = "", kind: str = "password", **cache: object
) -> None:
    """Configure a cache that is registered; its fqdn is the address at which the node is really reached."""
    msr = {**pinned(stack.site), "user": user}
    stack.configure({"fqdn": stack.site.engine.address, "registerInMsr": wish, **cache}, msr=msr)
    stack.set_secret(f"msr-cache:msr.{kind}", secret or PASSWORDS[user])


def url_of(stack: Stack) -> str:
    return f"https://{stack.site.engine.address}:{PORT}"


def trust_bundle(stack: Stack) -> str:
    return stack.site.msr.ca_pem() + str(stack.outputs()["caches"][CACHE]["certificatePem"])


def pull_as_user(site: Site, user: str, trust: str, repository: str = Site.app_repository) -> PullResult:
    """Pull as a client that knows MSR's address, its own password and whom to trust."""
    return pull(site.msr.url, repository, Site.app_tag, trust, user=(user, PASSWORDS[user]))
