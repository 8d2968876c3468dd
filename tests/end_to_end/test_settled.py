"""After `up` there is nothing left to do, whoever looks, however the image is named."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.end_to_end.stack import CACHE, FQDN, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]


def test_an_image_that_is_only_loaded_into_the_nodes_serves_and_settles_when_used_as_written(
    stack: Stack, swarm: Swarm
) -> None:
    image = f"{stack.site.network.host_address}:5999/loaded/cache:2.9.0"  # nothing listens there
    swarm.docker("pull", stack.site.cache_image)
    swarm.docker("tag", stack.site.cache_image, image)
    stack.configure({"image": image})
    refused = stack.preview()
    assert not refused.ok
    assert "set resolveImage: false" in refused.text

    stack.configure({"image": image, "resolveImage": False})
    assert f"image {image} is used as written" in stack.deploy().text
    assert stack.outputs()["caches"][CACHE]["image"] == image
    assert stack.pull().blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))

    stack.configure({"image": image, "resolveImage": False, "blobTtl": "36h"})
    stack.deploy()
    assert stack.pull().blobs
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    swarm.docker("image", "rm", image)


def test_an_image_of_a_registry_that_answers_is_not_used_as_written_at_first_but_later(
    stack: Stack, swarm: Swarm
) -> None:
    """The plugin pins an image as it creates the service, and never afterwards."""
    stack.configure({"resolveImage": False})
    refused = stack.preview()
    assert not refused.ok
    assert f"msr-cache:caches.{CACHE}.resolveImage: found false, expected true" in refused.text
    stack.configure()
    stack.deploy()
    stack.configure({"resolveImage": False})
    stack.deploy()
    container = swarm.inspect("service", f"{CACHE}_cache")["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert container["Image"] == stack.site.cache_image
    stack.must(stack.preview(refresh=True, expect_no_changes=True))


def openssl_sha256(pem: str) -> str:
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, input=pem, capture_output=True, text=True, check=True).stdout
    return shown.strip().partition("=")[2].replace(":", "").lower()


def test_three_facts_are_enough_and_the_outputs_tell_what_clients_and_msr_need(deployed: Stack) -> None:
    outputs = deployed.outputs()
    url = f"https://{FQDN}:{PORT}"
    cache = outputs["caches"][CACHE]
    assert outputs["cacheUrl"] == cache["url"] == url
    assert cache["registration"] == {"name": CACHE, "host": url}
    assert cache["nodes"] == [deployed.site.engine.name]
    assert cache["service"] == f"{CACHE}_cache"
    assert cache["image"] == f"{deployed.site.cache_image}@{deployed.site.image_digest('2.9.0')}"
    assert cache["certificatePem"].startswith("-----BEGIN CERTIFICATE-----")
    assert cache["certificateExpires"] > "2026"
    assert "secret: '[secret]'" in cache["configYaml"]
    assert cache["msrCaSha256"] == openssl_sha256(deployed.site.msr.ca_pem())
    assert cache["certificateSha256"] == openssl_sha256(cache["certificatePem"])
    assert deployed.pull().blobs


def test_a_preview_after_a_refresh_and_in_a_new_shell_changes_nothing(deployed: Stack) -> None:
    deployed.must(deployed.refresh())
    new_shell = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **deployed.environment}
    command = ["pulumi", "preview", "--expect-no-changes"]
    subprocess.run(command, cwd=deployed.folder, env=new_shell, check=True, capture_output=True)


def test_an_image_by_its_digest_changes_nothing_after_up_and_refresh(shared: Stack) -> None:
    tag, digest = shared.site.cache_image, shared.site.image_digest("2.9.0")
    for image in (f"{tag}@{digest}", f"{tag.rpartition(':')[0]}@{digest}"):
        shared.configure({"image": image})
        shared.deploy()
        shared.must(shared.preview(refresh=True, expect_no_changes=True))
