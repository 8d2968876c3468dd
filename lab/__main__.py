"""The lab's commands: `python -m lab up | down | status | add worker | pull | trust | stop msr | start msr`.

pull and trust read `pulumi stack output --json caches` from standard input. pull pulls through each cache. trust lets
the site's docker trust MSR and the caches until its engine ends.
"""

import argparse
import json
import sys
from typing import Any

from lab.client import pull
from lab.errors import LabError
from lab.site import Site


def _up() -> None:
    _describe(Site.start())


def _down() -> None:
    if site := Site.find():
        site.stop()


def _site() -> Site:
    if site := Site.find():
        return site
    raise LabError("the lab is not running: `python -m lab up` starts it")


def _status() -> None:
    site = _site()
    _describe(site)
    for name, running in site.running().items():
        print(f"{name + ':':12}{'running' if running else 'stopped'}")


def _add_worker() -> None:
    site = _site()
    site.add_worker()
    _describe(site)


def _caches() -> dict[str, Any]:
    try:
        return dict(json.load(sys.stdin))
    except (ValueError, TypeError):
        raise LabError("expected the caches on standard input: pulumi stack output --json caches") from None


def _pull() -> None:
    for name, cache in _caches().items():
        print(cache["url"])
        result = pull(cache["url"], Site.app_repository, Site.app_tag, cache["certificatePem"])
        print(f"pulled {Site.app_repository}:{Site.app_tag}@{result.manifest_digest} through cache {name}")
        size, seconds = sum(result.blobs.values()), f"{result.seconds:.2f}"
        print(f"{len(result.blobs)} blobs, {size} bytes, in {seconds} s with skopeo, which checks each digest")


def _trust() -> None:
    site = _site()
    registry = site.trust(cache["certificatePem"] for cache in _caches().values())
    print(f"docker trusts {registry}, and the caches that it redirects to; to pull through them:")
    print(f"  docker -H {site.engine.docker_host} login {registry}")
    print(f"  docker -H {site.engine.docker_host} pull {registry}/{Site.app_repository}:{Site.app_tag}")


def _stop_msr() -> None:
    _site().msr.stop()


def _start_msr() -> None:
    _site().msr.start()


def _describe(site: Site) -> None:
    print(f"docker host: {site.engine.docker_host}")
    for engine in site.engines:
        print(f"node:        {engine.name}, published ports on {engine.address}")
    print(f"MSR:         {site.msr.url} (its CA: {site.msr.url}/ca)")
    print(f"cache image: {site.cache_image}")


_COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "add worker": _add_worker,
    "pull": _pull,
    "trust": _trust,
    "stop msr": _stop_msr,
    "start msr": _start_msr,
}


def main(words: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("command", nargs="+", help=" | ".join(_COMMANDS))
    command = _COMMANDS.get(" ".join(parser.parse_args(words).command))
    if command is None:
        parser.error(f"expected one of: {', '.join(_COMMANDS)}")
    try:
        command()
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
