"""The environment variables that pulumi-docker reads and the program does not: they would part the two.

Read in kreuzwerker/terraform-provider-docker 83c00e0, internal/provider/provider.go and config.go. `host` is always
passed, so DOCKER_HOST has no effect; nothing reads DOCKER_TLS_VERIFY.
"""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from msr_cache.refusal import Refusal

_ALWAYS = ("DOCKER_CONTEXT", "DOCKER_CA_MATERIAL", "DOCKER_CERT_MATERIAL", "DOCKER_KEY_MATERIAL")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def refuse_conflicts(key: str, host: str, cert_path: str | None) -> None:
    """Raise Refusal if a variable leads the provider to another manager than `host`, or another way."""
    names = [
        *_ALWAYS,
        *(["DOCKER_CERT_PATH"] if cert_path is None else []),
        *(["DOCKER_SSH_OPTS"] if host.startswith("ssh://") else []),
    ]
    if variables := [name for name in names if os.environ.get(name)]:
        raise Refusal(
            f"msr-cache:swarm.{key}: found {' and '.join(variables)} in the environment, which the docker provider "
            f"would obey and this program would not, expected none beside swarm.{key}: run unset {' '.join(variables)}"
        )
    if proxy := _proxy(host, cert_path):
        raise Refusal(
            f"msr-cache:swarm.{key}: found {proxy} in the environment, through which the docker provider would reach "
            f"the manager and this program would not: add {urlsplit(host).hostname} to NO_PROXY"
        )


def _proxy(host: str, cert_path: str | None) -> str | None:
    """Return the name of the variable that makes Go use a proxy (net/http, ProxyFromEnvironment)."""
    url = urlsplit(host)
    scheme = "https" if cert_path else "http"
    if url.scheme != "tcp" or url.hostname in LOOPBACK or not getproxies_environment().get(scheme):
        return None
    bypassed = proxy_bypass(f"{url.hostname}:{url.port}") or _is_in_network_of_no_proxy(url.hostname or "")
    return None if bypassed else f"{scheme.upper()}_PROXY"


def _is_in_network_of_no_proxy(host: str) -> bool:
    """Whether NO_PROXY has the network of an IP address, which Go heeds and urllib does not."""
    for each in getproxies_environment().get("no", "").split(","):
        with suppress(ValueError):  # a name
            if ip_address(host) in ip_network(each.strip(), strict=False):
                return True
    return False
