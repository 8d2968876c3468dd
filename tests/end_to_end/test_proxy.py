"""A cache whose node has no route to MSR fetches through a proxy, whose password nobody sees in Pulumi's hands.

Asked for in distribution issues 1961 and 4490.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab.process import Process, wait_until
from lab.site import Site
from tests.end_to_end.howto import commands, config, typed
from tests.end_to_end.stack import CACHE, Stack

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

PORT, USER, PASSWORD = 3128, "ops", "hunter2-of-the-proxy"


@pytest.fixture
def no_route(site: Site) -> Iterator[None]:
    """Let the node's kernel know no way to MSR's port, for itself and for its containers."""
    inside = site.engine._machine.pid()

    def rule(action: str) -> None:
        to_msr = ("to", site.msr.address, "ipproto", "tcp", "dport", str(site.msr.port), "unreachable")
        command = ("/usr/bin/nsenter", f"--net=/proc/{inside}/ns/net", "/usr/sbin/ip", "rule", action, *to_msr)
        subprocess.run(command, check=True)

    rule("add")
    connecting = f"exec 3<>/dev/tcp/{site.msr.address}/{site.msr.port}"
    asked = subprocess.run(["/usr/bin/nsenter", f"--net=/proc/{inside}/ns/net", "bash", "-c", connecting], check=False)
    assert asked.returncode, "there is a route"
    yield
    rule("delete")


@pytest.fixture
def proxy(site: Site, tmp_path: Path) -> Iterator[Path]:
    """Give the log of Debian's tinyproxy on the site's network, which lets through to MSR whoever logs in."""
    log = tmp_path / "proxy.log"
    lines = {
        "Listen": site.network.host_address,
        "Port": PORT,
        "ConnectPort": site.msr.port,
        "BasicAuth": f"{USER} {PASSWORD}",
        "LogFile": f'"{log}"',
        "LogLevel": "Connect",
    }
    (tmp_path / "proxy.conf").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    process = Process(tmp_path / "proxy.pid", tmp_path / "proxy.out")
    process.start("/usr/bin/tinyproxy", "-d", "-c", tmp_path / "proxy.conf")
    wait_until(lambda: log.exists() and "done" in log.read_text(), "the proxy does not start")
    yield log
    process.stop()


@pytest.mark.usefixtures("no_route")
def test_a_cache_without_a_route_to_msr_fetches_through_a_proxy_that_asks_for_a_login(
    stack: Stack, proxy: Path
) -> None:
    environment = config("docs/reach.md", "Proxies")["caches"][CACHE]["environment"]
    url = environment.pop("HTTPS_PROXY").replace("//", f"//{USER}:{PASSWORD}@")
    stack.configure({"environment": environment})
    url = url.replace("proxy.asia.example.com", stack.site.network.host_address)
    typed(stack, commands("docs/reach.md", "Proxies"), stdin=url)
    run = stack.deploy()
    assert f"caches.{CACHE}.environment: HTTPS_PROXY: everybody who can run docker service inspect" in run.words
    assert stack.pull().blobs
    assert f"CONNECT {urlsplit(stack.site.msr.url).netloc}" in proxy.read_text()
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.configure({"environment": environment})
    assert "HTTPS_PROXY" in stack.preview().text
    assert not [where for where, text in stack.seen() if PASSWORD in text]
