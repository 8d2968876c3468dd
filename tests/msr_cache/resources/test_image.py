"""The digest behind a tag: looked up when the tag is first used, then kept."""

from __future__ import annotations

import pytest

from lab import images
from lab.images import CACHE_TAG, OTHER_TAG
from lab.site import Site
from msr_cache.resources.image import ImageProvider, as_written, look_up, refuse_resolvable
from tests.msr_cache.conftest import NOWHERE, configured, message, refusal, refusing, with_manager
from tests.msr_cache.engine import Engine

DIGEST = f"sha256:{'0a' * 32}"
AT = "msr-cache:caches.asia.image"
on_a_swarm = pytest.mark.swarm


def telling(platforms: list[dict[str, str]] | None) -> Engine:
    """Return a swarm whose registry tells the same of every image."""
    swarm = Engine()
    swarm.registry = {"Descriptor": {"digest": DIGEST}, "Platforms": platforms}
    return swarm


@on_a_swarm
def test_a_tag_is_resolved_to_the_digest_that_its_registry_has(site: Site) -> None:
    provider = configured(ImageProvider(), site.engine.docker_host)
    checked = provider.check({}, {"image": site.cache_image, "at": AT})
    assert checked.failures == []
    # The digest by the registry's own API; the lab's images are amd64's.
    assert checked.inputs["reference"] == f"{site.cache_image}@{site.image_digest(CACHE_TAG)}"
    assert checked.inputs["platforms"] == [{"architecture": "amd64", "os": "linux"}]
    created = provider.create(checked.inputs)
    assert created.outs == checked.inputs


@on_a_swarm
def test_a_tag_that_does_not_exist_is_told_in_the_preview_with_what_to_do(site: Site) -> None:
    image = site.cache_image.replace(CACHE_TAG, "no-such-tag")
    told = refusal(configured(ImageProvider(), site.engine.docker_host), {"image": image, "at": AT})
    assert told.startswith(f"{AT}: image {image} can't be resolved to a digest: ")
    assert "manifest unknown" in told
    assert "give the image as name:tag@sha256:..." in told


@on_a_swarm
def test_a_digest_is_kept_as_it_is_given(site: Site) -> None:
    image = f"{site.cache_image}@{site.image_digest(CACHE_TAG)}"
    checked = configured(ImageProvider(), site.engine.docker_host).check({}, {"image": image, "at": AT})
    assert checked.inputs["reference"] == image
    assert checked.inputs["platforms"] == [{"architecture": "amd64", "os": "linux"}]


@on_a_swarm
def test_another_tag_is_looked_up_and_is_a_change(site: Site) -> None:
    provider = configured(ImageProvider(), site.engine.docker_host)
    old = provider.check({}, {"image": site.cache_image, "at": AT}).inputs
    new = provider.check({"image": site.cache_image, **old}, {"image": site.image(images.OTHER_TAG), "at": AT}).inputs
    assert new["reference"] == f"{site.image(images.OTHER_TAG)}@{site.image_digest(OTHER_TAG)}"
    diff = provider.diff(site.cache_image, old, new)
    assert diff.changes is None, "the engine compares"
    assert not diff.replaces
    assert provider.update(site.cache_image, old, new).outs == new


@pytest.mark.parametrize(
    "image", ["registry.example.com:5000/msr/cache:2.9.0", f"registry.example.com:5000/c@{DIGEST}"]
)
@pytest.mark.parametrize(
    "said",
    [
        "unauthorized: authentication required",
        "Get https://registry.example.com:5000/v2/: no basic auth credentials",
        "errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n",
        "pull access denied for a, repository does not exist or may require 'docker login'",
    ],
)
def test_an_image_that_needs_a_login_names_the_key_to_set(image: str, said: str) -> None:
    """What Docker's engines say; even for a digest, because then no node could pull it."""
    line = message(lambda: look_up(refusing(500, said), image, AT))
    at = 'msr-cache:imageRegistries["registry.example.com:5000"]'
    assert line.startswith(f"{AT}: registry registry.example.com:5000 asks for a login to pull image {image}.")
    assert f"pulumi config set --path '{at}.username' USER" in line
    assert f"pulumi config set --path --secret '{at}.password'" in line


def test_a_tag_that_is_known_is_not_looked_up_again_even_if_it_has_moved() -> None:
    """Else other bits would start at some later run that changes nothing. The engine drops new inputs that are None."""
    platforms = [{"architecture": "amd64", "os": "linux"}]
    old = {"image": "cache:1", "at": AT, "reference": f"cache:1@{DIGEST}", "platforms": platforms}
    provider = configured(ImageProvider(), NOWHERE)
    checked = provider.check(old, {"image": "cache:1", "at": AT})
    assert (checked.inputs, checked.failures) == (old, [])
    assert not provider.diff("cache:1", old, checked.inputs).changes


def test_an_image_given_by_digest_needs_no_registry() -> None:
    """Where only the nodes reach it, as the message for a tag proposes."""
    image = f"cache:1@{DIGEST}"
    assert look_up(refusing(500), image, AT) == {"reference": image, "platforms": []}
    told = message(lambda: look_up(refusing(500), "cache:1", AT))
    assert "image cache:1 can't be resolved" in told
    assert "name:tag@sha256:..., or set resolveImage: false if you load the image into the nodes" in told


def test_an_image_used_as_written_asks_nobody_until_a_registry_is_to_be_asked_again() -> None:
    swarm = telling(None)
    provider = with_manager(ImageProvider(), swarm.manager)
    written = provider.check({}, {"image": "cache:1", "at": AT, "asWritten": True}).inputs
    assert (written["reference"], written["platforms"], swarm.asked) == ("cache:1", [], [])
    assert provider.check(written, {"image": "cache:2", "at": AT, "asWritten": True}).inputs["reference"] == "cache:2"
    assert swarm.asked == []
    pinned = provider.check(written, {"image": "cache:1", "at": AT}).inputs
    assert pinned["reference"] == f"cache:1@{DIGEST}"
    assert provider.diff("cache:1", written, pinned).changes is None, "the engine compares"
    assert provider.check(pinned, {"image": "cache:1", "at": AT, "asWritten": True}).inputs["reference"] == "cache:1"


def test_an_image_that_the_plugin_would_pin_is_not_used_as_written() -> None:
    told = message(lambda: refuse_resolvable(telling(None).manager, "cache:1", "at.resolveImage"))
    assert told.startswith("at.resolveImage: found false, expected true, because the registry of image cache:1 answers")
    refuse_resolvable(refusing(404), "cache:1", "at.resolveImage")


@pytest.mark.parametrize(
    ("image", "familiar"),
    [
        ("docker.io/mirantis/cache:1", "mirantis/cache:1"),
        ("index.docker.io/library/cache:1", "cache:1"),
        ("library/cache:1", "cache:1"),
        ("library/of/cache:1", "library/of/cache:1"),
        ("registry.example.com/library/cache:1", "registry.example.com/library/cache:1"),
    ],
)
def test_an_image_is_named_as_dockers_client_names_it_in_the_service(image: str, familiar: str) -> None:
    """Else each preview would propose to change it (distribution/reference, FamiliarString)."""
    assert as_written(image)["reference"] == familiar
    assert look_up(telling(None).manager, image, AT)["reference"] == f"{familiar}@{DIGEST}"


def test_a_manager_that_cant_be_reached_is_told_as_such_and_not_as_a_wrong_image() -> None:
    told = refusal(configured(ImageProvider(), NOWHERE), {"image": f"cache:1@{DIGEST}", "at": AT})
    assert told.startswith("msr-cache:swarm.host: found unix:///nowhere/docker.sock, expected a manager that answers (")


def test_platforms_are_those_that_docker_itself_would_ask_for() -> None:
    """The swarm can't tell variants of arm apart, so docker's client leaves that architecture out (docker/cli)."""
    platforms = [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert look_up(telling(platforms).manager, "cache:1", AT)["platforms"] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]


def test_a_registry_that_tells_no_platforms_is_fine() -> None:
    assert look_up(telling(None).manager, "cache:1", AT) == {"reference": f"cache:1@{DIGEST}", "platforms": []}


def test_the_engine_is_asked_for_the_whole_name() -> None:
    swarm = telling(None)
    look_up(swarm.manager, "registry.example.com:5000/msr/cache:2.9.0", AT)
    assert swarm.asked[0][1] == "/distribution/registry.example.com:5000/msr/cache:2.9.0/json"


def test_a_403_of_an_mke_role_is_told_with_its_reason() -> None:
    provider = with_manager(ImageProvider(), refusing(403, "access denied"))
    assert "access denied" in refusal(provider, {"image": "cache:1", "at": AT})
