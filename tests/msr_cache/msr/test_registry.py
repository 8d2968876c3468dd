"""What MSR's registry may answer to one that wants a blob to test a cache with, and what that is taken for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_cache import https
from msr_cache.msr.api import Credentials, Msr
from msr_cache.msr.client_check import Blob
from msr_cache.msr.registry import MsrRegistry
from msr_cache.refusal import Refusal
from tests.msr_cache.conftest import message

URL = "https://msr.example.com"
DIGEST = f"sha256:{'0a' * 32}"
BLOB = Blob("library/app", DIGEST)
GOOD: dict[str, Any] = {
    "/v2/_catalog?n=50": {"repositories": ["library/empty", "library/app"]},
    "/v2/library/empty/tags/list": {"tags": None},
    "/v2/library/app/tags/list": {"tags": ["1"]},
    "/v2/library/app/manifests/1": {
        "layers": [{"size": 9, "digest": f"sha256:{'0b' * 32}"}, {"size": 3, "digest": DIGEST}]
    },
}


class Answering(Msr):
    """An MSR that answers as a function of the path."""

    def __init__(self, answer: Callable[[str], https.Answer]) -> None:
        super().__init__(URL, None, Credentials("admin", "hunter2"))
        self._answer = answer

    def ask(self, _method: str, path: str, _headers: Mapping[str, str], _body: bytes | None = None) -> https.Answer:
        return self._answer(path)


def registry_of(pages: Mapping[str, Any]) -> MsrRegistry:
    """Return a registry whose pages are JSON, or bytes as they are."""

    def answer(path: str) -> https.Answer:
        page = pages[path]
        return https.Answer(200, {}, page if isinstance(page, bytes) else json.dumps(page).encode())

    return MsrRegistry(Answering(answer))


def test_the_smallest_layer_of_the_first_image_is_the_sample() -> None:
    assert registry_of(GOOD).sample() == BLOB


@pytest.mark.parametrize("page", [5, True, [], "x", None, b"<html>", b"", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("path", [path for path in GOOD if "empty" not in path])
def test_a_page_that_is_not_a_registrys_is_one_line(path: str, page: Any) -> None:
    assert message(registry_of({**GOOD, path: page}).sample).startswith("MSR's answer is not a registry's JSON")


@pytest.mark.parametrize("names", [5, "x", {"a": 1}, [5, "a b"], [None, {}], ["a?b"], ["\ud800"], [""]])
@pytest.mark.parametrize(("path", "key"), [(path, key) for path in GOOD for key in GOOD[path] if key != "layers"])
def test_names_that_are_none_are_one_line(path: str, key: str, names: Any) -> None:
    told = message(registry_of({**GOOD, path: {key: names}}).sample)
    assert told.startswith((f"MSR's answer is not a list of {key}", "MSR's answer is not a registry's JSON"))


@pytest.mark.parametrize(
    "layers", [5, [5], [None], [{}], [{"digest": DIGEST}], [{"size": 1}], [{"size": "x", "digest": DIGEST}], [[]]]
)
def test_a_manifest_with_odd_layers_is_one_line(layers: Any) -> None:
    pages = {**GOOD, "/v2/library/app/manifests/1": {"layers": layers}}
    assert message(registry_of(pages).sample).startswith("MSR's answer is not an image's manifest")


@pytest.mark.parametrize("tokens", [b"5", b"[]", b"true", b"<html>", b""])
def test_a_token_that_is_none_is_one_line(tokens: bytes) -> None:
    def answer(path: str) -> https.Answer:
        if path.startswith("/auth/token"):
            return https.Answer(200, {}, tokens)
        return https.Answer(401, {"www-authenticate": f'Bearer realm="{URL}/auth/token"'}, b"")

    assert message(MsrRegistry(Answering(answer)).sample).startswith("MSR's answer is not a registry's JSON")


@pytest.mark.parametrize("realm", ["https://[::1", "//[", "https://elsewhere/token", "", f"{URL}.evil.example/token"])
def test_no_password_goes_to_a_login_server_that_is_not_msr(realm: str) -> None:
    def answer(path: str) -> https.Answer:
        assert path.startswith("/v2/")
        return https.Answer(401, {"www-authenticate": f'Bearer realm="{realm}"'}, b"")

    told = message(MsrRegistry(Answering(answer)).sample)
    assert "no password was sent" in told or "request to log in" in told
    assert "hunter2" not in told


def test_a_redirect_to_no_url_is_one_line() -> None:
    registry = MsrRegistry(Answering(lambda _: https.Answer(302, {"location": "https://[::1/x"}, b"")))
    assert message(lambda: registry.location(BLOB)).startswith("MSR's answer is not a redirect to a URL")


KEYS = st.sampled_from(
    ["repositories", "tags", "layers", "size", "digest", "token", "errors", "message", "id", "name", "host", "x"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
BODY = st.binary() | JSON.map(lambda value: json.dumps(value).encode())
ANSWER = st.builds(
    https.Answer,
    st.sampled_from([200, 201, 302, 401, 404, 500]),
    st.dictionaries(
        st.sampled_from(["location", "www-authenticate"]),
        st.text() | st.text().map(lambda text: f'Bearer realm="{URL}/{text}",service="{text}"'),
    ),
    BODY,
)


@given(st.lists(ANSWER, min_size=1))
def test_whatever_msrs_registry_answers_is_taken_or_refused(answers: list[https.Answer]) -> None:
    left = iter(answers)
    registry = MsrRegistry(Answering(lambda _: next(left, answers[-1])))
    with suppress(Refusal):
        assert isinstance(registry.sample(), Blob)
    with suppress(Refusal):
        assert registry.location(BLOB).startswith("http") or answers


@given(ANSWER)
def test_whatever_msrs_api_answers_is_taken_or_refused_in_text_that_can_be_shown(answer: https.Answer) -> None:
    msr = Answering(lambda _: answer)
    acts: list[Callable[[], Any]] = [msr.entries, lambda: msr.add("a", "b"), lambda: msr.cache_of("alice")]
    for act in acts:
        try:
            str(act()).encode()
        except Refusal as refused:
            str(refused).encode()
