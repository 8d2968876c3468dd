"""The base of the resources in MSR: its API, with credentials that are never a resource's property."""

from __future__ import annotations

from pulumi.dynamic import ConfigureRequest

from msr_cache.msr.api import Credentials, Msr
from msr_cache.resources.provider import Props, SwarmProvider


class MsrProvider(SwarmProvider):
    """Base of providers whose properties hold MSR's `url` and `ca` (PEM; absent: the operating system's CAs)."""

    def configure(self, req: ConfigureRequest) -> None:
        """Read the credentials from the config, so that a new password changes no resource."""
        super().configure(req)
        self._msr_config = req.config.get("msr")

    def msr(self, props: Props) -> Msr:
        """Return MSR with the `url` and `ca` of the properties."""
        return Msr(props["url"], props.get("ca"), Credentials.from_config(self._msr_config))
