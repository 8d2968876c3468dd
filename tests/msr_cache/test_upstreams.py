"""A cache trusts each next hop by that one's own CA, and comes after the caches of the stack that it fetches from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.certificates import HOST, make
from tests.msr_cache.conftest import CACHE_TLS, MSR_TLS, Declared, Program, declared, mistakes, settings_with
from tests.msr_cache.conftest import plain as unwrapped

FOREIGN = "https://cache.eu.example.com"
SELF_SIGNED = make("cache.eu.example.com", sans=("cache.eu.example.com",))


def cache(number: int, *upstreams: Any, **more: Any) -> dict[str, Any]:
    chained = {"upstreams": [*upstreams]} if upstreams else {}
    return {"fqdn": HOST, "nodes": ["worker-7"], "port": 9000 + number, "label": f"label-{number}", **chained, **more}


CHAIN = {"leaf": cache(3, {"cache": "middle"}), "middle": cache(2, {"cache": "top"}), "top": cache(1)}


def chained(*upstreams: Any, **more: Any) -> Program:
    """Return what is declared of cache asia with these upstreams; cache top is of the same stack."""
    return declared({".upstreams": [*upstreams], "caches.top": cache(1), **more})


def files(program: Program, of: str = "asia") -> dict[str, str]:
    """Return what is in each file that the cache's config.yml names below `cas`, by its name."""
    (service,) = [each for each in program.of("Service") if each.name == f"{of}-service"]
    mounted = {
        each["fileName"]: each["secretId"] for each in unwrapped(service.inputs)["taskSpec"]["containerSpec"]["secrets"]
    }
    data = {f"id-of-{each.name}": unwrapped(each.inputs)["data"] for each in program.of("SwarmSecret")}
    options = yaml.safe_load(data[mounted["/config.yml"]])["middleware"]["registry"][0]["options"]
    named = [path.removeprefix("/run/secrets/") for path in options.get("cas", [])]
    assert {*mounted} == {"/config.yml", "cache.cert.pem", "cache.key.pem", *named}, "no other CA is there"
    return {name: data[mounted[name]] for name in named}


def of(program: Program, cache: str, kind: str) -> Declared:
    (found,) = [each for each in program.of(kind) if each.name.startswith(f"{cache}-")]
    return found


def test_a_cache_that_fetches_from_msr_trusts_msrs_ca_alone() -> None:
    assert files(declared()) == {"dtr.cert.pem": MSR_TLS.ca}
    assert files(chained("https://msr.example.com:8443", "https://msr.example.com")) == {"dtr.cert.pem": MSR_TLS.ca}
    assert files(chained("http://mirror.example.com:5000")) == {}


def test_a_cache_that_fetches_from_another_trusts_that_ones_certificate_and_not_msrs() -> None:
    assert files(chained({"cache": "top"})) == {"upstream-0.pem": CACHE_TLS.certificate}


def test_each_next_hop_has_a_ca_of_its_own() -> None:
    """Asked for in distribution issue 1898."""
    ca = {"url": FOREIGN, "ca": {"pem": SELF_SIGNED.pem}}
    program = chained("https://msr.example.com", {"cache": "top"}, ca, {"url": "https://a.example.com", "ca": "system"})
    trust = of(program, "asia", "UpstreamCa")
    assert unwrapped(trust.inputs)["given"] == SELF_SIGNED.pem
    assert [*files(program)] == ["dtr.cert.pem", "upstream-1.pem", "upstream-2.pem"]
    assert trust.urn in of(program, "asia", "NodeLabel").dependencies, "nothing changes before it is checked"


def test_the_url_of_a_cache_of_the_stack_follows_its_own_settings() -> None:
    settings = settings_with({".upstreams": [{"cache": "top"}, "https://msr.example.com"], "caches.top": cache(1)})
    assert settings.upstreams_of("asia") == [f"https://{HOST}:9001", "https://msr.example.com"]
    behind = settings_with({".upstreams": [{"cache": "top"}], "caches.top": cache(1, externalPort=8443)})
    assert behind.upstreams_of("asia") == [f"https://{HOST}:8443"], "the port that clients use"


@pytest.mark.parametrize(("verify", "last"), [("off", "Rollout"), ("tls", "Verification")])
def test_a_cache_comes_after_the_last_that_is_done_to_those_it_fetches_from(verify: str, last: str) -> None:
    """So it goes before them: Pulumi deletes in the opposite order."""
    caches = {**CHAIN, "middle": {**CHAIN["middle"], "verify": verify}, "top": {**CHAIN["top"], "verify": verify}}
    program = declared({"caches": caches})
    for leaf, upstream in (("leaf", "middle"), ("middle", "top")):
        assert of(program, upstream, last).urn in of(program, leaf, "Service").dependencies
    assert not {each.urn for each in program.of(last)} & of(program, "top", "Service").dependencies


def test_more_than_two_levels_are_warned_of_by_key() -> None:
    (warning,) = [text for text in declared({"caches": CHAIN}).warnings if "upstreams" in text]
    assert warning.startswith("msr-cache:caches.leaf.upstreams: this cache is 3 caches away from MSR.")
    assert not [text for text in chained({"cache": "top"}).warnings if "upstreams" in text]


@pytest.mark.parametrize(
    ("caches", "line"),
    [
        ({"leaf": cache(1, {"cache": "leaf"})}, "caches.leaf.upstreams: found a circle (leaf from leaf)"),
        (
            {"leaf": cache(1, {"cache": "top"}), "top": cache(2, {"cache": "leaf"})},
            "caches.leaf.upstreams: found a circle (leaf from top from leaf)",
        ),
    ],
)
def test_caches_that_fetch_from_each_other_in_a_circle_are_refused_by_name(caches: dict[str, Any], line: str) -> None:
    assert mistakes({"caches": caches}) == [f"msr-cache:{line}, expected a chain that ends at MSR"]


def test_a_cache_that_the_stack_has_not_is_refused_at_its_key() -> None:
    assert mistakes({".upstreams": [{"cache": "topp"}]}) == [
        "msr-cache:caches.asia.upstreams[0].cache: found 'topp', expected a cache of this stack (asia)"
    ]


def test_a_mistake_in_one_cache_is_no_mistake_of_those_that_fetch_from_it() -> None:
    (line,) = mistakes({"caches": {"leaf": cache(1, {"cache": "top"}), "top": cache(2, port=0)}})
    assert line.startswith("msr-cache:caches.top.port")


@pytest.mark.parametrize("upstream", [FOREIGN, {"url": FOREIGN}, "https://msr2.example.com"])
def test_a_next_hop_that_is_neither_msr_nor_of_the_stack_needs_a_ca(upstream: Any) -> None:
    """MSR's CA was mounted for it before, whoever had signed its certificate."""
    (line,) = mistakes({".upstreams": ["https://msr.example.com", upstream]})
    url = upstream["url"] if isinstance(upstream, dict) else upstream
    assert line.startswith(
        f"msr-cache:caches.asia.upstreams[1]: found {url} without ca, expected one, because it is not "
    )
    assert "{sha256: ...}, {pem: ...} or system" in line
    assert "{cache: NAME}" in line


@pytest.mark.parametrize(
    ("upstream", "line"),
    [
        (7, "[0]: found 7, expected a URL, or a map with cache, or with url and ca"),
        ({}, "[0]: found none; set exactly one of cache, url"),
        ({"cache": "asia", "url": FOREIGN}, "[0]: found cache and url; set exactly one of cache, url"),
        ({"url": FOREIGN, "ca": "fetch"}, "[0].ca: found 'fetch', expected system, or a map with sha256 or pem"),
        ({"url": FOREIGN, "ca": {}}, "[0].ca: found none; set exactly one of sha256, pem"),
        ({"url": FOREIGN, "cas": "system"}, "[0].cas: unknown key; did you mean ca? (known keys: ca, cache, url)"),
        (
            {"cache": "asia", "ca": "system"},
            "[0]: found ca, expected it with an https url alone",
        ),
        (
            {"url": "http://a.example.com", "ca": "system"},
            "[0]: found ca, expected it with an https url alone",
        ),
        (
            {"url": FOREIGN, "ca": {"pem": make("a", signer=make("CA", ca=True)).pem}},
            "[0].ca.pem: found the certificate of CN=a, which is no CA, expected a CA's, or one that is self-signed",
        ),
    ],
)
def test_a_wrong_upstream_is_one_line_at_its_key(upstream: Any, line: str) -> None:
    assert mistakes({".upstreams": [upstream]}) == [f"msr-cache:caches.asia.upstreams{line}"]
