"""A new operator who types what README and docs/ say, word for word, from the first `up` to another stack name."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from lab import images
from lab.msr_api import ACCESS_TOKENS, ADMIN
from tests.end_to_end.howto import commands, config, follow, typed
from tests.end_to_end.msr import MsrPage
from tests.end_to_end.stack import CACHE, FQDN, NAME, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"


@pytest.fixture
def prod(stack: Stack) -> Iterator[Stack]:
    """Give a folder with the README's Pulumi.prod.yaml and no stack; at the end, the stack has the fixture's name."""
    site = stack.site
    stack.ask("stack", "rm", "--yes", NAME)
    minimal = config("README.md", "Minimal configuration")
    minimal["msr"]["url"] = site.msr.url
    minimal["swarm"]["host"] = site.engine.docker_host
    minimal["caches"][CACHE] |= {"fqdn": site.engine.address, "nodes": [site.engine.name]}
    minimal["cacheDefaults"] = {"port": PORT, "publishMode": "host", "image": site.cache_image}
    file = {"config": {f"msr-cache:{key}": value for key, value in minimal.items()}}
    (stack.folder / "Pulumi.prod.yaml").write_text(yaml.safe_dump(file))
    yield stack
    typed(stack, [f"pulumi stack rename {NAME}"])  # with no `up` afterwards: it can be destroyed all the same


def test_the_how_tos_work_as_they_are_written(prod: Stack, swarm: Swarm) -> None:
    site, page = prod.site, MsrPage(prod.site)
    url = f"https://{site.engine.address}:{PORT}"
    assert typed(prod, commands("README.md", "Minimal configuration")).text.endswith(f"\n{url}\n")

    here = {"sudo ": "", "/etc/docker": "etc", f"{FQDN}:443": url.removeprefix("https://")}
    here |= {"-verify_hostname": "-verify_ip", FQDN: site.engine.address}
    assert "Verify return code: 0 (ok)" in typed(prod, commands("docs/trust.md", "Clients trust the cache"), here).text
    pin = typed(prod, commands("docs/trust.md", "Pin MSR's CA"), {"https://msr.example.com": site.msr.url}).text
    typed(prod, [line for line in pin.splitlines() if line.startswith("pulumi ")])

    typed(prod, commands("docs/registration.md", "Register"), stdin=ACCESS_TOKENS[ADMIN])
    assert page.points_at("alice") == page.only_id()
    outputs = json.loads(typed(prod, ["pulumi stack output --json"]).text)
    here = {"sha256:...": max(prod.pull_as(outputs).blobs)}
    said = typed(prod, commands("docs/registration.md", "Verify"), here).text
    assert said.splitlines()[-1] == f"{CACHE}: a blob has the expected digest"

    typed(prod, [f"pulumi config set --path msr-cache:cacheDefaults.image {site.image(images.OTHER_TAG)}"])
    upgrade = commands("docs/move.md", "Upgrade MSR and its caches together")
    assert "differs from msr.version" not in typed(prod, upgrade, {"2.9.4": images.OTHER_TAG}).text

    tasks = swarm.task_ids(SERVICE)
    typed(prod, commands("docs/move.md", "To another stack name"), {"NEW": "renamed"})
    assert swarm.task_ids(SERVICE) == tasks
    assert swarm.inspect("service", SERVICE)["Spec"]["Labels"]["msr-cache.owner"] == f"msr-cache/renamed/{CACHE}"
    typed(prod, ["pulumi preview --refresh --expect-no-changes"])
    assert prod.pull_as(outputs).blobs

    (prod.folder / "state/.pulumi/stacks/msr-cache/renamed.json.attrs").touch()
    assert "failed to load checkpoint: EOF" in follow(prod, ["pulumi stack output"]).text
    typed(prod, commands("docs/recover.md", "Pulumi reports `failed to load checkpoint: EOF`"), {"DIR": "state"})
    typed(prod, ["pulumi stack output"])
