"""What the resources that live in MSR share: its API, with credentials that no property of theirs ever holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msr_cache.msr.api import Credentials, Msr
from msr_cache.resources.provider import Props, SwarmProvider

if TYPE_CHECKING:
    from pulumi.dynamic import ConfigureRequest


class MsrProvider(SwarmProvider):
    """Base of providers whose properties hold MSR's `url` and `ca` (PEM; absent: the system's trust)."""

    def configure(self, req: ConfigureRequest) -> None:
        """Read the credentials too: the engine keeps them encrypted, and a new password changes no resource."""
        super().configure(req)
        self._msr_config = req.config.get("msr")

    def msr(self, props: Props) -> Msr:
        """Return MSR as these properties say it is reached."""
        return Msr(props["url"], props.get("ca"), Credentials.from_config(self._msr_config))
