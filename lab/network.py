"""The small network between this machine and the site's engines: a bridge and a subnet of 198.18.0.0/15."""

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lab.errors import LabError

# Reserved for tests of network devices (RFC 2544): no site routes it.
_POOL = IPv4Network("198.18.0.0/16")
LAB_SUBNET = IPv4Network("198.18.0.0/24")
"""The lab's, since stack dev names addresses in it; tests' sites take what is free of the rest."""


@dataclass(frozen=True)
class Network:
    """`name` (at most 11 characters) is the bridge's; an engine's card is the name and the end of its address."""

    name: str
    subnet: IPv4Network

    @property
    def host_address(self) -> str:
        return str(self.subnet[1])

    def address(self, number: int) -> str:
        """The address of engine `number`, from 1."""
        return str(self.subnet[number + 1])

    def card(self, address: str) -> str:
        return f"{self.name}-{IPv4Address(address).packed[-1]}"

    def up(self) -> None:
        if exists(self.name):
            return
        if _taken(self.subnet):
            raise LabError(f"the lab needs {self.subnet}, and `ip route` shows that something else has it")
        _ip("link", "add", self.name, "type", "bridge")
        _ip("address", "add", f"{self.host_address}/{self.subnet.prefixlen}", "dev", self.name)
        _ip("link", "set", self.name, "up")

    def connect(self) -> None:
        """Let engines reach one another, also where a docker of this machine's own lets nothing be forwarded."""
        if not self._forwards():
            _run("/usr/sbin/iptables", "--wait", "--insert", *self._rule)

    def down(self) -> None:
        while self._forwards():
            _run("/usr/sbin/iptables", "--wait", "--delete", *self._rule)
        if exists(self.name):
            _ip("link", "delete", self.name)

    @property
    def _rule(self) -> tuple[str, ...]:
        return ("FORWARD", "--in-interface", self.name, "--out-interface", self.name, "--jump", "ACCEPT")

    def _forwards(self) -> bool:
        check = ("/usr/sbin/iptables", "--wait", "--check", *self._rule)
        return subprocess.run(check, capture_output=True, check=False).returncode == 0


def free_subnet() -> IPv4Network:
    """Return a subnet that no route of this machine leads to, never the lab's; LabError where there is none."""
    for subnet in _POOL.subnets(new_prefix=24):
        if subnet != LAB_SUBNET and not _taken(subnet):
            return subnet
    raise LabError(f"no free /24 in {_POOL}")


def exists(interface: str) -> bool:
    """Whether this machine has an interface of that name."""
    return any(link["ifname"] == interface for link in json.loads(_ip("-json", "link", "show")))


def _taken(subnet: IPv4Network) -> bool:
    routes = (route["dst"] for route in json.loads(_ip("-json", "-4", "route", "show", "table", "all")))
    return any(ipaddress.ip_network(dst).overlaps(subnet) for dst in routes if dst != "default")


def _ip(*arguments: str) -> str:
    return _run("/usr/sbin/ip", *arguments)


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout
