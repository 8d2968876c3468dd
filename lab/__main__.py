"""The lab's commands: `python -m lab up | down | status | pull`."""

import argparse
import json
import sys

from lab.client import pull
from lab.errors import LabError
from lab.site import Site

_EPILOG = "pull reads `pulumi stack output --json caches` from standard input, and pulls through each cache."


def _up() -> None:
    _describe(Site.start())


def _down() -> None:
    if site := Site.find():
        site.stop()


def _status() -> None:
    if not (site := Site.find()):
        raise LabError("the lab is not running: `python -m lab up` starts it")
    _describe(site)
    for name, running in site.running().items():
        print(f"{name + ':':12}{'running' if running else 'stopped'}")


def _pull() -> None:
    for name, cache in json.load(sys.stdin).items():
        print(cache["url"])
        result = pull(cache["url"], Site.app_repository, Site.app_tag, cache["certificatePem"])
        print(f"pulled {Site.app_repository}:{Site.app_tag}@{result.manifest_digest} through cache {name}")
        size, seconds = sum(result.blobs.values()), f"{result.seconds:.2f}"
        print(f"{len(result.blobs)} blobs, {size} bytes, in {seconds} s with skopeo, which checks each digest")


def _describe(site: Site) -> None:
    print(f"docker host: {site.engine.docker_host}")
    print(f"node:        {site.engine.name}, published ports on {site.engine.address}")
    print(f"MSR:         {site.msr.url} (its CA: {site.msr.url}/ca)")
    print(f"cache image: {site.cache_image}")


_COMMANDS = {"up": _up, "down": _down, "status": _status, "pull": _pull}


def main() -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__, epilog=_EPILOG)
    parser.add_argument("command", choices=_COMMANDS)
    command = parser.parse_args().command
    try:
        _COMMANDS[command]()
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
