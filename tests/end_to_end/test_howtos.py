"""A new operator who types what README and docs/ say, word for word, from the first `up` to another stack name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import pytest
import yaml

from lab import images
from lab.msr_api import ACCESS_TOKENS, ADMIN
from tests.end_to_end.howto import commands, follow
from tests.end_to_end.msr import MsrPage
from tests.end_to_end.stack import CACHE, CHECKOUT, FQDN, NAME, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

SERVICE = f"{CACHE}_cache"


@pytest.fixture
def prod(stack: Stack) -> Iterator[Stack]:
    """Give a folder with the README's Pulumi.prod.yaml and no stack; at the end, the stack has the fixture's name."""
    site = stack.site
    stack.ask("stack", "rm", "--yes", NAME)
    text = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)[0]
    file = yaml.safe_load(text)
    file["config"]["msr-cache:msr"]["url"] = site.msr.url
    file["config"]["msr-cache:swarm"]["host"] = site.engine.docker_host
    file["config"]["msr-cache:caches"][CACHE] |= {"fqdn": site.engine.address, "nodes": [site.engine.name]}
    file["config"]["msr-cache:cacheDefaults"] = {"port": PORT, "publishMode": "host", "image": site.cache_image}
    (stack.folder / "Pulumi.prod.yaml").write_text(yaml.safe_dump(file))
    yield stack
    typed(stack, [f"pulumi stack rename {NAME}"])  # with no `up` afterwards: it can be destroyed all the same


def typed(stack: Stack, lines: list[str], here: Mapping[str, str] | None = None, stdin: str = "") -> str:
    answer = follow(stack, lines, here or {}, stdin)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_how_tos_work_as_they_are_written(prod: Stack, swarm: Swarm) -> None:
    site, page = prod.site, MsrPage(prod.site)
    url = f"https://{site.engine.address}:{PORT}"
    first = [line for line in commands("README.md", "Minimal configuration") if not line.startswith("python3 -m venv")]
    assert typed(prod, first).endswith(f"\n{url}\n")

    here = {"sudo ": "", "/etc/docker": "etc", f"{FQDN}:443": url.removeprefix("https://")}
    here |= {"-verify_hostname": "-verify_ip", FQDN: site.engine.address}
    assert "Verify return code: 0 (ok)" in typed(prod, commands("docs/trust.md", "Clients trust the cache"), here)
    pin = typed(prod, commands("docs/trust.md", "Pin MSR's CA"), {"https://msr.example.com": site.msr.url})
    typed(prod, [line for line in pin.splitlines() if line.startswith("pulumi ")])

    typed(prod, commands("docs/registration.md", "Register"), stdin=ACCESS_TOKENS[ADMIN])
    assert page.points_at("alice") == page.only_id()
    outputs = json.loads(typed(prod, ["pulumi stack output --json"]))
    here = {"sha256:...": max(prod.pull_as(outputs).blobs)}
    said = typed(prod, commands("docs/registration.md", "Verify"), here)
    assert said.splitlines()[-1] == f"{CACHE}: a blob has the expected digest"

    typed(prod, [f"pulumi config set --path msr-cache:cacheDefaults.image {site.image(images.OTHER_TAG)}"])
    upgrade = commands("docs/move.md", "Upgrade MSR and its caches together")
    assert "differs from msr.version" not in typed(prod, upgrade, {"2.9.4": images.OTHER_TAG})

    tasks = swarm.task_ids(SERVICE)
    typed(prod, commands("docs/move.md", "To another stack name"), {"NEW": "renamed"})
    assert swarm.task_ids(SERVICE) == tasks
    assert swarm.inspect("service", SERVICE)["Spec"]["Labels"]["msr-cache.owner"] == f"msr-cache/renamed/{CACHE}"
    typed(prod, ["pulumi preview --refresh --expect-no-changes"])
    assert prod.pull_as(outputs).blobs
