"""The stand-in for MSR: a real registry behind TLS of its own CA, that can be stopped, rotated and made to err."""

import sys
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from lab.authority import issue
from lab.msr_api import book
from lab.process import Process, wait_until
from lab.registry import Registry


@dataclass(frozen=True)
class Msr:
    """`folder` holds its certificates and log; `registry` what it serves. Only the front is seen from outside."""

    address: str
    port: int
    folder: Path
    run: Path
    registry: Registry

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    def ca_pem(self) -> str:
        return (self.folder / "ca.pem").read_text()

    def start(self) -> None:
        """Start serving; what it serves with is made where there is none yet."""
        if not (self.folder / "server.key").exists():
            self._issue()
            self.repair()
        self.show(self.ca_pem())
        self.registry.start()
        options = (self.address, str(self.port), self.registry.address, self.folder)
        self._front.start(sys.executable, "-m", "lab.front", *options)
        wait_until(self._answers, f"MSR's stand-in does not answer on {self.url}: see {self._front.log}")

    def stop(self) -> None:
        """Stop answering. The registry behind the front is reachable by nobody else, and stays."""
        self._front.stop()

    def is_running(self) -> bool:
        return self._front.pid() is not None

    def rotate_ca(self) -> None:
        """Serve with a certificate of a new CA from now on."""
        self.stop()
        self._issue()
        self.start()

    def show(self, ca_pem: str) -> None:
        """What /ca answers until the next start, as if somebody in between had replaced it."""
        (self.folder / "shown-ca.pem").write_text(ca_pem)

    def fail(self, method: str, how: str) -> None:
        """Let every API request of `method` fail from now on.

        `how` is a status, `hang` (no answer, nothing done) or `lost` (done, and then no answer).
        """
        (self.folder / "failure").write_text(f"{method} {how}")

    def repair(self) -> None:
        (self.folder / "failure").write_text("")

    def book(self) -> AbstractContextManager[dict[str, Any]]:
        """What MSR remembers of caches and accounts: to look at, and to change as its web page does."""
        return book(self.folder / "book.json")

    def requests(self) -> list[str]:
        """What was answered so far, oldest first: `METHOD path status bytes`."""
        log = self.folder / "requests.log"
        return log.read_text().splitlines() if log.exists() else []

    def wait_until_quiet(self, seconds: float = 0.5) -> None:
        """Return when nothing was asked for so long: a cache stores a blob after it has passed it on."""
        seen = None
        while (now := self.requests()) != seen:
            seen = now
            time.sleep(seconds)

    @property
    def _front(self) -> Process:
        return Process(self.run / "msr-front.pid", self.folder / "front.log")

    def _issue(self) -> None:
        issue("Lab MSR CA", address=self.address, dns_name="msr.lab.test").write(self.folder)

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return bool(requests.head(self.url, verify=str(self.folder / "ca.pem"), timeout=1).status_code)
        return False
