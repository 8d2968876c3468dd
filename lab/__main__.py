"""The lab's commands: `python -m lab up | down | status | pull`."""

import argparse
import json
import sys

from lab.client import pull
from lab.errors import LabError
from lab.site import Site


def _up(_: argparse.Namespace) -> None:
    _describe(Site.start())


def _down(_: argparse.Namespace) -> None:
    if site := Site.find():
        site.stop()


def _status(_: argparse.Namespace) -> None:
    if not (site := Site.find()):
        raise LabError("the lab is not running: `python -m lab up` starts it")
    _describe(site)
    for name, running in site.running().items():
        print(f"{name + ':':12}{'running' if running else 'stopped'}")


def _pull(_: argparse.Namespace) -> None:
    for name, cache in json.load(sys.stdin).items():
        result = pull(cache["url"], Site.app_repository, Site.app_tag, cache["certificatePem"])
        print(f"pulled {Site.app_repository}:{Site.app_tag}@{result.manifest_digest} through cache {name}")
        size = sum(result.blobs.values())
        print(f"{len(result.blobs)} blobs, {size} bytes, each as its digest says, in {result.seconds:.2f} s")


def _describe(site: Site) -> None:
    print(f"docker host: {site.docker_host}")
    print(f"node:        {site.node_name}, published ports on {site.engine_address}")
    print(f"MSR:         {site.msr_url} (its CA: {site.msr_url}/ca)")
    print(f"cache image: {site.cache_image}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("up", help="start the site, or what is missing of it").set_defaults(run=_up)
    commands.add_parser("down", help="stop the site and leave nothing of it").set_defaults(run=_down)
    commands.add_parser("status", help="what the site is and what of it runs").set_defaults(run=_status)
    pull_help = "pull an image through each cache of `pulumi stack output --json caches`, read from standard input"
    commands.add_parser("pull", help=pull_help).set_defaults(run=_pull)
    return parser.parse_args()


def main() -> int:
    """Run one command; return its exit code."""
    options = _arguments()
    try:
        options.run(options)
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
