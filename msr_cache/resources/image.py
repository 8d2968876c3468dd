"""The digest and the platforms behind an image's tag: looked up when the tag is first used, then kept, or not at all.

The daemon stores `tag@sha256:...` for a tag and the pulumi-docker provider then sees a change at every preview
(kreuzwerker/terraform-provider-docker issue 50); and a tag that moves would start other code at the next task.
"""

import re

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
        found = manager.distribution(image)
    except EngineError as error:
        if re.search("unauthorized|no basic auth|access denied|denied: ", error.message):
            raise Refusal(f"{at}: {_needs_login(image)}: {error.message}") from None
        if "@" in image:
            return as_written(image)
        raise Refusal(
            f"{at}: image {image} can't be resolved to a digest: {error.message}. Check its name and tag, and that the "
            "manager reaches its registry; where it can't, give the image as name:tag@sha256:..., or set resolveImage: "
            "false if you load the image into the nodes"
        ) from None
    image = _familiar(image)
    reference = image if "@" in image else f"{image}@{found['Descriptor']['digest']}"
    # Like docker's client: swarm can't tell the variants of arm apart (moby/swarmkit issue 2294).
    platforms = [
        {"architecture": "" if each["architecture"] == "arm" else each["architecture"], "os": each["os"]}
        for each in found.get("Platforms") or []
    ]
    return {"reference": reference, "platforms": platforms}


def _needs_login(image: str) -> str:
    from msr_cache.config import errors, image_registries  # as in swarm/manager.py

    at = errors.dotted((image_registries.KEY, host := image_registries.registry_of(image)))
    command, key = "pulumi config set --path", f"'msr-cache:{at}"
    return (
        f"registry {host} asks for a login to pull image {image}. Check the name, or set a login: {command} "
        f"{key}.username' USER, and {command} --secret {key}.password'. It said"
    )


def as_written(image: str) -> Props:
    """Return `reference` and `platforms` of an image that no registry is asked for."""
    return {"reference": _familiar(image), "platforms": []}


def _familiar(image: str) -> str:
    """Return the image as docker's client, and so the service, has it: without what is Docker Hub's default."""
    return re.sub(r"^(?:(?:index\.)?docker\.io/)?(?:library/(?=[^/]+$))?", "", image)


def refuse_resolvable(manager: Manager, image: str, at: str) -> None:
    """Before a create: refuse to use `image` as written if its registry answers, because pulumi-docker pins it then."""
    try:
        manager.distribution(image)
    except Refusal:
        return
    raise Refusal(
        f"{at}: found false, expected true, because the registry of image {image} answers the manager: pulumi-docker "
        "then pins the image when it creates the service. If you load another image of this name into the nodes, give "
        "it a name that no registry has (docker tag)"
    )


class ImageProvider(SwarmProvider):
    """Resolves in `check`, which previews run too: a tag that does not exist fails before anything changes."""

    updates_on = ("reference", "platforms")
    shows_changes = True

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Keep the digest of an unchanged tag, look up that of another."""
        if unchanged(olds, news, "image", "asWritten"):
            return CheckResult({**olds, **news}, [])
        image = news["image"]
        found = as_written(image) if news.get("asWritten") else look_up(self.manager, image, news["at"])
        return CheckResult({**news, **found}, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["image"], props)


class Image(Tracked, provider=ImageProvider):
    """Image `image`, given at the config key `at`; no registry is asked for it if `asWritten` (True or None).

    `reference` is `name:tag@sha256:...`, or `image` as written; `platforms` is a list of `architecture` and `os`, as
    docker.Service takes it.
    """

    reference: pulumi.Output[str]
    platforms: pulumi.Output[list[dict[str, str]]]
