"""The whole site: network, MSR stand-in, image registry and engine, started, found again and removed as one."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from lab import images
from lab.engine import Engine
from lab.msr import Msr
from lab.network import LAB_SUBNET, Network, free_subnet
from lab.packages import ensure_installed
from lab.process import locked
from lab.registry import Registry

_IMAGES_PORT, _MSR_PORT = 5000, 8443


@dataclass(frozen=True)
class Site:
    """The lab, whose addresses are the same on every machine; or, for tests, a site of its own per folder `root`."""

    root: Path | None
    network: Network

    app_repository = images.APP_REPOSITORY
    app_tag = images.APP_TAG

    @classmethod
    def start(cls, root: Path | None = None) -> Self:
        """Start the lab (or the site of `root`), or what does not run of it, and return when it serves."""
        ensure_installed()
        # One start or stop at a time, of all sites, since they choose among the same subnets.
        with locked(Path("/run")):
            site = cls.find(root) or cls._new(root)
            site.run.mkdir(mode=0o700, exist_ok=True)
            site.network.up()
            for engine in site.engines:
                engine.launch()
            registry_is_new = site.image_registry.process.pid() is None
            site.image_registry.start()
            site.msr.start()
            # At each start, not at each call: a newer start.sh of the checkout gets in, and finding the site is fast.
            if registry_is_new or not site.image_registry.digest(images.CACHE_REPOSITORY, images.LAST_TAG):
                images.push_app_image(site.msr.registry)
                images.push_cache_images(site.image_registry)
            site.engine.wait()
            site.engine.init_swarm()
        return site

    @classmethod
    def find(cls, root: Path | None = None) -> Self | None:
        """The lab (or the site of `root`), running or not; None when it was never started, or stopped."""
        site_file = _data(root) / "site.json"
        if not site_file.exists():
            return None
        return cls._of(root, IPv4Network(json.loads(site_file.read_text())["subnet"]))

    def add_worker(self) -> Engine:
        """Let one more machine join the swarm, for as long as there is the site."""
        worker = self._machine(len(self.engines) + 1)
        self.network.connect()
        worker.start()
        worker.join_swarm(self.engine)
        return worker

    def trust(self, certificates: Iterable[str]) -> str:
        """Let the docker of each machine trust MSR and the caches' `certificates` (PEM); return MSR's host:port."""
        registry = self.msr.url.removeprefix("https://")
        bundle = "".join([self.msr.ca_pem(), *certificates])
        for engine in self.engines:
            engine.trust(registry, bundle)
        return registry

    def stop(self) -> None:
        """End every process that the site started; leave no mount, interface, firewall rule or file of it."""
        with locked(Path("/run")):
            for engine in self.engines:
                for words in engine.crashes():
                    warnings.warn(f"the engine {engine.name} crashed: {words}", stacklevel=2)
                engine.remove()
            self.msr.stop()
            self.msr.registry.process.stop()
            self.image_registry.process.stop()
            self.network.down()
            shutil.rmtree(self.run, ignore_errors=True)
            shutil.rmtree(self.data)

    def running(self) -> dict[str, bool]:
        return {
            "engine": self.engine.is_running(),
            "MSR": self.msr.is_running(),
            "images": self.image_registry.process.pid() is not None,
        }

    @property
    def run(self) -> Path:
        """What lives as long as the processes do; in /run, since the path of a socket has at most 107 characters."""
        return Path("/run") / _id(self.root)

    @property
    def data(self) -> Path:
        return _data(self.root)

    @property
    def engine(self) -> Engine:
        """The swarm's manager."""
        return self._machine(1)

    @property
    def engines(self) -> list[Engine]:
        """The manager, and the workers that have joined."""
        workers = len(list(self.data.glob("engine-*")))
        return [self._machine(number) for number in range(1, workers + 2)]

    def _machine(self, number: int) -> Engine:
        folder = "engine" if number == 1 else f"engine-{number}"
        address = self.network.address(number)
        return Engine(f"worker-{number}", address, self.network, self.run / folder, self.data / folder)

    @property
    def image_registry(self) -> Registry:
        """Where the swarm pulls the cache's image from."""
        return Registry("images", f"{self.network.host_address}:{_IMAGES_PORT}", self.run, self.data)

    @property
    def msr(self) -> Msr:
        # The whole of 127.0.0.0/8 is this machine's: an address of its own keeps two sites apart without more ports.
        behind = Registry("msr", f"127.{self.network.host_address.partition('.')[2]}:5000", self.run, self.data)
        return Msr(self.network.host_address, _MSR_PORT, self.data / "msr-front", self.run, behind)

    @property
    def cache_image(self) -> str:
        return self.image(images.CACHE_TAG)

    def image(self, tag: str) -> str:
        """The cache's image `tag`, as the swarm pulls it."""
        return f"{self.image_registry.address}/{images.CACHE_REPOSITORY}:{tag}"

    def image_digest(self, tag: str) -> str:
        """The digest of the cache's image `tag`."""
        return str(self.image_registry.digest(images.CACHE_REPOSITORY, tag))

    @classmethod
    def _new(cls, root: Path | None) -> Self:
        """Decide on a subnet and write it down before anything is made of it."""
        subnet = free_subnet() if root else LAB_SUBNET
        data = _data(root)
        data.mkdir(mode=0o711, exist_ok=True)
        (data / "site.json").write_text(json.dumps({"subnet": str(subnet)}))
        return cls._of(root, subnet)

    @classmethod
    def _of(cls, root: Path | None, subnet: IPv4Network) -> Self:
        return cls(root, Network(f"lab{_id(root)[-8:]}" if root else "msrlab", subnet))


def _id(root: Path | None) -> str:
    suffix = f"-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}" if root else ""
    return f"msr-cache-lab{suffix}"


def _data(root: Path | None) -> Path:
    return Path("/var/lib") / _id(root)
