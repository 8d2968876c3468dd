"""The digest behind an image's tag: looked up when the tag is first used, then kept.

The daemon stores `tag@sha256:...` for a tag and the pulumi-docker provider then sees a change at every preview
(kreuzwerker/terraform-provider-docker issue 50); and a tag that moved would start other bits at the next task.
"""

from __future__ import annotations

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, Resource, UpdateResult

from msr_cache.problems import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, unchanged
from msr_cache.swarm import EngineError, Manager


def resolve(manager: Manager, image: str) -> str:
    """Return `image` with its digest, as its registry tells the manager; raise Refusal where there is none."""
    if "@" in image:
        return image
    try:
        digest = manager.get(f"/distribution/{image}/json")["Descriptor"]["digest"]
    except EngineError as error:
        message = (
            f"image {image} can't be resolved to a digest: {error.said}. Check its name and tag, and that the manager "
            "reaches its registry; where it can't, give the image as name:tag@sha256:..."
        )
        raise Refusal(message) from None
    return f"{image}@{digest}"


class ImageProvider(SwarmProvider):
    """Resolves in `check`, which previews run too: a tag that does not exist is told before anything is changed."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep the digest of an unchanged tag, look up that of another."""
        if unchanged(olds, news, "image"):
            return CheckResult({**news, "reference": olds["reference"]}, [])

        def look() -> None:
            news["reference"] = resolve(self.manager, news["image"])

        return self.checked(news, "image", look)

    def create(self, props: Props) -> CreateResult:
        """Keep what `check` found."""
        return CreateResult(props["image"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare what runs."""
        return DiffResult(changes=olds["reference"] != news["reference"])

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Keep what `check` found."""
        return UpdateResult(news)


class Image(Resource, module="msr", name="Image"):
    """An image to run; `reference` is `name:tag@sha256:...`."""

    reference: pulumi.Output[str]

    def __init__(self, name: str, image: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__(ImageProvider(), name, {"image": image, "reference": None}, opts)
