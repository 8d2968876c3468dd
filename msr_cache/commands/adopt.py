"""`python -m msr_cache adopt NAME`: prints the config of a cache made with `docker stack deploy`; changes nothing."""

from __future__ import annotations

import argparse

import yaml

from msr_cache.by_hand import described
from msr_cache.commands import pulumi_cli
from msr_cache.config.field_types import as_map
from msr_cache.swarm.manager import Address, Manager

NOT_CARRIED = """\
# Set each value [secret] with pulumi config set --path --secret.
# The swarm gives no secret back. Set tls.source to provided with the cache's certificate and key, or let clients trust
# the new certificate that the stack creates: see docs/adopt.md.
"""


def main(arguments: list[str]) -> None:
    """Print YAML for `Pulumi.<stack>.yaml`, whose msr-cache:msr and msr-cache:swarm are set already."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache adopt", description=__doc__)
    parser.add_argument("name", help="the name given to docker stack deploy, which becomes the cache's")
    parser.add_argument("--stack", help="another Pulumi stack than the selected one")
    options = parser.parse_args(arguments)
    raw = pulumi_cli.config(options.stack)
    manager = Manager(Address.from_config(as_map(raw.get("swarm"))))
    cache = {"adoptStack": True, **described(manager, options.name, raw)}
    print(
        NOT_CARRIED + yaml.safe_dump({"config": {"msr-cache:caches": {options.name: cache}}}, sort_keys=False), end=""
    )
