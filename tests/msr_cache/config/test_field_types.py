"""Forms of values: host names (RFC 1123), durations as Go reads them, and origins."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from msr_cache.config.errors import quoted
from msr_cache.config.field_types import GoDuration, HttpOrigin, HttpsOrigin, Port, is_host


def refused(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    return str(caught.value.errors()[0]["msg"])


LONG = f"{'a' * 63}." * 3


@pytest.mark.parametrize(
    "host",
    ["a", "A-1", "cache.example.com", "3com.com", "xn--bcher-kva.example", "10.1.2.3", "2001:db8::1", LONG + "a" * 61],
)
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a_b",
        "a b",
        "a:443",
        "[2001:db8::1]",
        "fe80::1%eth0",
        "::1%\nInjected: yes",
        "https://a",
        "a/b",
        "a\n",
        "bücher.example",
        "a" * 64,
        LONG + "a" * 62,
    ],
)
def test_what_is_more_or_less_than_a_host_is_none(host: str) -> None:
    assert not is_host(host)


# Examples and grammar of Go's time.ParseDuration.
@pytest.mark.parametrize("text", ["24h", "1h30m", "1.5h", "300ms", "2us", "2µs", "100ns", "0", "1h15m30.918s"])
def test_a_duration_is_accepted_as_go_reads_it(text: str) -> None:
    assert TypeAdapter(GoDuration).validate_python(text) == text


@pytest.mark.parametrize("value", [24, 24.0, 0, "24", "86400"])
def test_a_bare_number_is_refused_as_the_nanoseconds_it_would_be(value: object) -> None:
    message = refused(GoDuration, value)
    assert f"found {value!r}" in message
    assert ("which means nanoseconds without a unit" in message) == str(value).isdecimal()
    assert "24h" in message


@pytest.mark.parametrize("value", ["", "1d", "1w", "h", "1 h", "-1h", "1h ", "24H", "1h\n", ".h", True, None])
def test_what_go_would_not_read_is_refused_without_a_word_of_nanoseconds(value: object) -> None:
    message = refused(GoDuration, value)
    assert f"found {quoted(value)}, expected a number with ms, s, m or h" in message


@pytest.mark.parametrize(
    ("longest", "more"),
    [
        ("2562047h47m16854ms", "2562047h47m16855ms"),
        ("153722867m16854ms", "153722867m16855ms"),
        ("9223372036s854ms", "9223372036s855ms"),
        ("9223372036854ms", "9223372036855ms"),
        ("9223372036854774us", "9223372036854776us"),
        ("9223372036854774µs", "9223372036854776µs"),
        ("5000000000000000000ns", "9223372036854775808ns"),
        ("1h", f"{'9' * 400}h"),
    ],
)
def test_a_duration_that_go_cannot_hold_is_refused(longest: str, more: str) -> None:
    """The longest is 2562047h47m16.854775807s: 2**63 - 1 nanoseconds."""
    assert TypeAdapter(GoDuration).validate_python(longest) == longest
    assert "expected 292 years or less" in refused(GoDuration, more)


@pytest.mark.parametrize("value", [["77h"], {"h": 77}])
def test_a_duration_that_has_parts_is_refused_and_not_shown(value: object) -> None:
    assert "77" not in refused(GoDuration, value)


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://a.example.com", "https://a.example.com"),
        ("https://a.example.com/", "https://a.example.com"),
        ("https://a.example.com:8443", "https://a.example.com:8443"),
        ("https://10.1.2.3:8443/", "https://10.1.2.3:8443"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_kept_without_the_slash_at_its_end(given: str, origin: str) -> None:
    assert TypeAdapter(HttpsOrigin).validate_python(given) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example.com",
        "//a.example.com",
        "ftp://a.example.com",
        "https://",
        "https://:443",
        "https://a.example.com/v2",
        "https://a.example.com?x=1",
        "https://a.example.com#x",
        "https://a.example.com:0",
        "https://a.example.com:65536",
        "https://a.example.com:https",
        "https://a example.com",
        "https://a.example.com\n",
        "https://ops@a.example.com",
        "https://[2001:db8::1",
    ],
)
@pytest.mark.parametrize("kind", [HttpsOrigin, HttpOrigin])
def test_what_is_no_origin_is_refused(kind: Any, url: str) -> None:
    assert "expected https://host[:port]" in refused(kind, url)


def test_only_where_plain_http_is_allowed_it_is() -> None:
    assert TypeAdapter(HttpOrigin).validate_python("http://10.1.2.3:5000") == "http://10.1.2.3:5000"
    assert "found 'http://10.1.2.3:5000'" in refused(HttpsOrigin, "http://10.1.2.3:5000")


@pytest.mark.parametrize("password", ["hunter2", "h@nter2", "a/hunter2", "hunter2:@", "a?hunter2", "a#hunter2"])
def test_a_password_in_a_url_is_refused_and_not_shown(password: str) -> None:
    message = refused(HttpsOrigin, f"https://ops:{password}@a.example.com")
    assert "found 'https://...@a.example.com'" in message
    assert "nter2" not in message


def test_a_port_is_one_to_65535() -> None:
    assert [TypeAdapter(Port).validate_python(port) for port in (1, 65535)] == [1, 65535]
    for port in (0, -1, 65536):
        refused(Port, port)
