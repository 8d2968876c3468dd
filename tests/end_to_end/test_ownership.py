"""`destroy` leaves the swarm as it was; what is somebody else's is refused by name and left as it is."""

from __future__ import annotations

import pytest

from lab import images
from lab.msr_api import ADMIN, PASSWORDS
from tests.end_to_end.msr import MsrPage, pinned, register
from tests.end_to_end.stack import CACHE, PORT, Stack
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine]

LABEL = "dtr.cache"


def test_destroy_puts_back_what_the_label_was_before(stack: Stack, swarm: Swarm) -> None:
    swarm.docker("node", "update", "--label-add", f"{LABEL}=spare", "--label-add", "rack=7", stack.site.engine.name)
    before = swarm.listing()
    try:
        stack.deploy()
        assert swarm.labels()[LABEL] == "true"
        stack.must(stack.destroy())
        assert swarm.listing() == before
        assert swarm.labels() == {LABEL: "spare", "rack": "7"}
    finally:
        swarm.docker("node", "update", "--label-rm", LABEL, "--label-rm", "rack", stack.site.engine.name)


def test_destroy_after_a_failed_up_leaves_the_swarm_as_it_was(stack: Stack, swarm: Swarm) -> None:
    before = swarm.listing()
    stack.configure({"image": stack.site.image(images.CRASH_TAG)})
    assert not stack.up().ok
    assert swarm.listing() != before, "as it is again after the fixture's destroy"


def test_somebody_elses_service_of_the_name_is_refused_before_the_first_object_and_left_alone(
    shared: Stack, swarm: Swarm
) -> None:
    name = "europe_cache"
    caches = shared.config()["caches"]
    caches["europe"] = caches[CACHE] | {"fqdn": "cache.europe.example.com", "port": PORT + 1, "label": "dtr.eu"}
    shared.configure(caches=caches)
    swarm.docker("service", "create", "--detach", "--replicas=0", "--name", name, shared.site.cache_image)
    before, listing = swarm.inspect("service", name), swarm.listing()
    try:
        for run in (shared.preview(), shared.up()):  # up without a preview
            assert not run.ok
            assert (
                f"error: service {name} already exists and belongs to an owner that its labels do not name; left "
                "unchanged: give the cache another name\n" in run.text
            )
        assert swarm.inspect("service", name) == before
        assert swarm.listing() == listing
        assert {each["type"].rpartition(":")[2] for each in shared.resources()} <= {"Stack", "StateId", "pulumi-python"}
    finally:
        swarm.docker("service", "rm", name)


def test_somebody_elses_entry_in_msr_is_refused_before_the_first_object_of_any_cache(
    shared: Stack, swarm: Swarm
) -> None:
    register(shared)
    config = shared.config()
    first = config["caches"][CACHE]
    europe = first | {"fqdn": shared.site.engine.address, "port": PORT + 1, "label": "dtr.eu", "registerInMsr": True}
    shared.configure(caches={CACHE: first, "europe": europe}, msr={**pinned(shared.site), "user": ADMIN})
    shared.set_secret("msr-cache:msr.password", PASSWORDS[ADMIN])
    page, listing = MsrPage(shared.site), swarm.listing()
    page.edit("theirs", name="europe", host="https://theirs.example.com")
    try:
        run = shared.up()  # without a preview
        assert not run.ok
        assert "europe.registerInMsr: found an entry with the same name or host in MSR: europe at https" in run.text
        assert swarm.listing() == listing
        assert LABEL not in swarm.labels()
        assert list(page.caches()) == ["theirs"]
        assert not {"NodeLabel", "SwarmSecret", "Service"} & run.changed()
    finally:
        page.clear()


def test_somebody_elses_file_of_the_name_is_refused_and_left_alone(stack: Stack, swarm: Swarm) -> None:
    stack.deploy()
    name = next(name for name in swarm.names("secret") if "cache.key.pem" in name)
    # The same content, so the same name: the state keeps key and http.secret, the object becomes somebody else's.
    swarm.docker("service", "rm", f"{CACHE}_cache")
    swarm.docker("secret", "rm", name)
    swarm.docker("secret", "create", "--label", "com.docker.stack.namespace=theirs", name, "-", stdin="theirs")
    before = swarm.inspect("secret", name)
    try:
        run = stack.up(refresh=True)
        assert not run.ok
        assert f"secret {name} already exists and belongs to docker stack theirs" in run.text
        assert swarm.inspect("secret", name) == before
        stack.must(stack.destroy())
        assert swarm.inspect("secret", name) == before
    finally:
        swarm.docker("secret", "rm", name)


def test_another_stacks_label_is_refused_by_name(shared: Stack, swarm: Swarm) -> None:
    labels = [f"{LABEL}=true", f"msr-cache.owner.{LABEL}=msr-cache/prod/europe"]
    swarm.docker("node", "update", *[f"--label-add={label}" for label in labels], shared.site.engine.name)
    try:
        run = shared.preview()
        assert not run.ok
        assert (
            f"error: msr-cache:caches.asia.label: label {LABEL} of node {shared.site.engine.name} belongs to msr-cache "
            "stack msr-cache/prod/europe" in run.text
        )
    finally:
        names = [label.partition("=")[0] for label in labels]
        swarm.docker("node", "update", *[f"--label-rm={name}" for name in names], shared.site.engine.name)


def test_destroy_with_refresh_succeeds_after_everything_was_removed_by_hand(stack: Stack, swarm: Swarm) -> None:
    stack.deploy()
    swarm.docker("service", "rm", f"{CACHE}_cache")
    swarm.docker("secret", "rm", *swarm.names("secret"))
    run = stack.destroy()
    assert not run.ok
    assert "the cache's service was removed outside Pulumi: run this command again with --refresh" in run.text
    stack.must(stack.destroy(refresh=True))
