"""The digest and the platforms behind an image's tag: looked up when the tag is first used, then kept.

The daemon stores `tag@sha256:...` for a tag and the pulumi-docker provider then sees a change at every preview
(kreuzwerker/terraform-provider-docker issue 50); and a tag that moves would start other code at the next task.
"""

from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.resources.tracked import Tracked
from msr_cache.swarm.manager import EngineError, Manager


def look_up(manager: Manager, image: str, at: str) -> Props:
    """Return `reference` (`image` with its digest) and `platforms`, which the manager asks the image's registry for.

    Raises Refusal, with the config key `at`, if the registry does not answer and `image` has no digest.
    """
    try:
        found = manager.get(f"/distribution/{image}/json")
    except EngineError as error:
        if "@" in image:
            return {"reference": image, "platforms": []}
        raise Refusal(
            f"{at}: image {image} can't be resolved to a digest: {error.message}. Check its name and tag, and that the "
            "manager reaches its registry; where it can't, give the image as name:tag@sha256:..."
        ) from None
    reference = image if "@" in image else f"{image}@{found['Descriptor']['digest']}"
    # Like docker's client: swarm can't tell the variants of arm apart (moby/swarmkit issue 2294).
    platforms = [
        {"architecture": "" if each["architecture"] == "arm" else each["architecture"], "os": each["os"]}
        for each in found.get("Platforms") or []
    ]
    return {"reference": reference, "platforms": platforms}


class ImageProvider(SwarmProvider):
    """Resolves in `check`, which previews run too: a tag that does not exist fails before anything changes."""

    updates_on = ("reference", "platforms")

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep the digest of an unchanged tag, look up that of another."""
        if unchanged(olds, news, "image"):
            return CheckResult({**olds, **news}, [])
        return CheckResult({**news, **look_up(self.manager, news["image"], news["at"])}, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["image"], props)


class Image(Tracked, module="msr", name="Image"):
    """Image `image`, given at the config key `at`.

    `reference` is `name:tag@sha256:...`; `platforms` is a list of `architecture` and `os`, as docker.Service takes it.
    """

    reference: pulumi.Output[str]
    platforms: pulumi.Output[list[dict[str, str]]]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(ImageProvider(), name, {**props, "reference": None, "platforms": None}, opts)
