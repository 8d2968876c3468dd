"""The Debian packages that the lab is made of, installed where missing without starting a service of theirs."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.process import locked

# What a package is needed for -> its name.
_PACKAGES = {
    "/usr/sbin/dockerd": "docker.io",
    "/usr/bin/docker-init": "docker.io",
    "/usr/bin/docker-registry": "docker-registry",
    "/usr/bin/busybox": "busybox-static",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/ip": "iproute2",
    "/usr/bin/unshare": "util-linux",
    "/usr/bin/skopeo": "skopeo",
    "/usr/sbin/sshd": "openssh-server",
    "/usr/bin/ssh": "openssh-client",
    "/usr/bin/tinyproxy": "tinyproxy",
    "/usr/sbin/haproxy": "haproxy",
}

# What maintainer scripts call to start or enable a service.
_SERVICE_TOOLS = ("invoke-rc.d", "deb-systemd-invoke", "deb-systemd-helper", "update-rc.d", "systemctl")


def ensure_installed() -> None:
    """Install what is missing; LabError says what can't be had."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network and mount namespaces: run it as root")
    # One at a time, of all sites that start on a new machine: apt-get doesn't wait for another one.
    with locked(Path("/run")):
        if missing := sorted({package for path, package in _PACKAGES.items() if not Path(path).exists()}):
            _install(missing)


def _install(missing: list[str]) -> None:
    if not shutil.which("apt-get"):
        raise LabError(f"the lab needs what Debian has in {', '.join(missing)}: install these and run it again")
    with tempfile.TemporaryDirectory() as shims:
        for tool in _SERVICE_TOOLS:
            (Path(shims) / tool).symlink_to("/bin/true")
        _apt_get("update")
        path = f"{shims}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
        # dpkg runs maintainer scripts with this PATH only, so the shims reach no other program.
        _apt_get("install", "--yes", "--no-install-recommends", "-o", f"DPkg::Path={path}", *missing)


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ("/usr/bin/apt-get", "--quiet", *arguments)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"apt-get {arguments[0]} failed: {result.stderr.strip()}")
