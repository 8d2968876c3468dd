"""The digest and the platforms behind an image's tag: looked up when the tag is first used, then kept.

The daemon stores `tag@sha256:...` for a tag and the pulumi-docker provider then sees a change at every preview
(kreuzwerker/terraform-provider-docker issue 50); and a tag that moved would start other bits at the next task.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.swarm.manager import EngineError, Manager


def look_up(manager: Manager, image: str, at: str) -> Props:
    """Return `reference` (`image` with its digest) and `platforms` as the image's registry tells the manager.

    Raises Refusal, of the config key `at`, where the registry tells nothing and the digest is not given either.
    """
    try:
        found = manager.get(f"/distribution/{image}/json")
    except EngineError as error:
        if "@" in image:
            return {"reference": image, "platforms": []}
        message = (
            f"{at}: image {image} can't be resolved to a digest: {error.message}. Check its name and tag, and that the "
            "manager reaches its registry; where it can't, give the image as name:tag@sha256:..."
        )
        raise Refusal(message) from None
    reference = image if "@" in image else f"{image}@{found['Descriptor']['digest']}"
    return {"reference": reference, "platforms": [_platform(entry) for entry in found.get("Platforms") or []]}


def _platform(found: dict[str, str]) -> dict[str, str]:
    # As docker's client has it: swarm can't tell the variants of arm apart (moby/swarmkit issue 2294).
    architecture = "" if found["architecture"] == "arm" else found["architecture"]
    return {"architecture": architecture, "os": found["os"]}


class ImageProvider(SwarmProvider):
    """Resolves in `check`, which previews run too: a tag that does not exist is told before anything is changed."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep the digest of an unchanged tag, look up that of another."""
        if unchanged(olds, news, "image"):
            return CheckResult({**olds, **news}, [])
        return CheckResult({**news, **look_up(self.manager, news["image"], news["at"])}, [])

    def create(self, props: Props) -> CreateResult:
        """Keep what `check` found."""
        return CreateResult(props["image"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare what runs."""
        return DiffResult(changes=not unchanged(olds, news, "reference", "platforms"))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Keep what `check` found."""
        return UpdateResult(news)


class Image(Tracked, module="msr", name="Image"):
    """Image `image`, given at the config key `at`.

    `reference` is `name:tag@sha256:...`, `platforms` what docker.Service takes as such.
    """

    reference: pulumi.Output[str]
    platforms: pulumi.Output[list[dict[str, str]]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(ImageProvider(), name, {**props, "reference": None, "platforms": None}, opts)
