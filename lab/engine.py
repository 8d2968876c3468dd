"""One Docker engine that could as well be a machine of its own: own address, host name, mounts, processes and data."""

import os
import re
import shutil
import signal
import socket
import struct
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import docker
import requests
from docker.errors import DockerException

from lab.errors import LabError
from lab.network import Network, exists
from lab.process import Process, end, wait_until

_MACHINE = Path(__file__).parent / "machine.sh"
_CGROUPS = Path("/sys/fs/cgroup")
TLS_PORT = 2376
_TLS_FILES = {"cacert": "ca", "cert": "cert", "key": "key"}
"""The name of each file, by dockerd's option for it."""


@dataclass(frozen=True)
class Engine:
    """A machine called `name`. `run` must be short: the path of a socket in it has at most 107 characters."""

    name: str
    address: str
    network: Network
    run: Path
    data: Path

    @property
    def docker_host(self) -> str:
        return f"unix://{self.run}/docker.sock"

    def client(self, timeout: int = 60) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.docker_host, timeout=timeout)

    def start(self) -> None:
        """Start it, with the data of its last run, and return when it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it without waiting for it."""
        if self.is_running():
            return
        self.kill()  # what is left of a machine that was killed is in the way of a new one
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        address = f"{self.address}/{self.network.subnet.prefixlen}"
        machine = (str(os.getpid()), self.network.name, self._card, address, self.name, self.run)
        self._machine.start("/usr/bin/unshare", "--net", "--mount", "--uts", _MACHINE, *machine, *self._command())

    def wait(self) -> None:
        wait_until(self._is_ready, f"the engine {self.name} does not answer: see {self._machine.log}")

    def init_swarm(self) -> None:
        """Make it the first manager of a swarm, unless it is in one."""
        with closing(self.client()) as client:
            if client.info()["Swarm"]["LocalNodeState"] == "inactive":
                client.swarm.init(advertise_addr=self.address, listen_addr=self.address)
        self.wait()

    def join_swarm(self, manager: Self) -> None:
        """Make it a worker of the swarm of `manager`, and return when that knows it as ready."""
        with closing(manager.client()) as of_manager, closing(self.client()) as client:
            token = of_manager.swarm.attrs["JoinTokens"]["Worker"]
            client.swarm.join([manager.address], token, advertise_addr=self.address, listen_addr=self.address)
        manager.wait()

    def stop(self) -> None:
        """Shut it down in order, containers first."""
        with suppress(LabError):
            self.resume()
            end(self._dockerd(), grace=30)
        self.kill()

    def kill(self) -> None:
        """End it at once, as by a power cut."""
        self._machine.stop(grace=0)
        wait_until(self._is_gone, f"the network card or the cgroups of {self._card} stay")

    def is_running(self) -> bool:
        return self._machine.pid() is not None

    def crashes(self) -> list[str]:
        """The first words of each crash of dockerd: how Go names an error or a signal."""
        log = self._machine.log
        return re.findall("^(?:fatal error|panic|SIG[A-Z]+): .*", log.read_text(), re.MULTILINE) if log.exists() else []

    def serve_tls(self, ca: str, certificate: str, key: str) -> None:
        """Start it again, to serve those with a certificate of `ca` (all PEM) at TLS_PORT too."""
        self.stop()
        self._keys.mkdir(mode=0o700, exist_ok=True)
        for file, text in zip(_TLS_FILES.values(), (ca, certificate, key), strict=True):
            (self._keys / f"{file}.pem").write_text(text)
        self.start()

    def trust(self, registry: str, ca_pem: str) -> None:
        """Let its docker trust `ca_pem` for `registry` (host:port) and for whom that redirects to, until it ends."""
        folder = Path(f"/proc/{self._dockerd()}/root/etc/docker/certs.d/{registry}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_text(ca_pem)

    def pause(self) -> None:
        """Let the manager hang: it takes connections and answers nothing. Its containers go on."""
        os.kill(self._dockerd(), signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._dockerd(), signal.SIGCONT)

    def remove(self) -> None:
        """End it at once and leave nothing of it."""
        self.kill()
        for folder in (self.run, self.data):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _card(self) -> str:
        return self.network.card(self.address)

    @property
    def _machine(self) -> Process:
        return Process(self.run / "engine.pid", self.run / "engine.log")

    def _command(self) -> tuple[str, ...]:
        return (
            "/usr/sbin/dockerd",
            f"--data-root={self.data}",
            "--exec-root=/run/engine",
            "--pidfile=/run/engine/docker.pid",
            f"--host={self.docker_host}",
            # The systemd driver would ask this machine's systemd for a unit per container.
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent=/{self._card}",
            f"--insecure-registry={self.network.subnet}",
            *(self._tls() if self._keys.exists() else ()),
        )

    def _tls(self) -> tuple[str, ...]:
        files = (f"--tls{key}={self._keys}/{file}.pem" for key, file in _TLS_FILES.items())
        return (f"--host=tcp://{self.address}:{TLS_PORT}", "--tlsverify", *files)

    @property
    def _keys(self) -> Path:
        return self.data / "tls"

    def _dockerd(self) -> int:
        """The process that listens on its socket, also where it hangs."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{self.run}/docker.sock")
                return int(struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        except OSError:
            raise LabError(f"the engine {self.name} does not run") from None

    def _is_ready(self) -> bool:
        """Whether it answers and, as a manager, knows each node of its swarm as ready."""
        if self._machine.pid() is None:
            raise LabError(f"the engine {self.name} ended: see {self._machine.log}")
        try:
            with closing(self.client(timeout=5)) as client:
                if client.info()["Swarm"]["LocalNodeState"] == "inactive":
                    return True
                return all(node.attrs["Status"]["State"] == "ready" for node in client.nodes.list())
        except (DockerException, requests.RequestException):
            return False

    def _is_gone(self) -> bool:
        """Whether the kernel has cleared away what the machine had; its cgroups are ours to remove."""
        groups = [group for root in (_CGROUPS, *_CGROUPS.iterdir()) for group in (root / self._card).glob("**/")]
        # The deepest first: a group goes when it has none in it. One that still has processes is tried again.
        for group in sorted(groups, reverse=True):
            with suppress(OSError):
                group.rmdir()
        return not any(group.exists() for group in groups) and not exists(self._card)
