"""MSR's CA: fetched from a real MSR stand-in, and trusted only after MSR's own chain verifies with it."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.authority import issue
from lab.msr import Mode
from lab.site import Site
from msr_cache.refusal import Refusal
from msr_cache.resources.msr_ca import MsrCaProvider
from tests.msr_cache.conftest import NOWHERE, configured, refusal
from tests.msr_cache.test_https import HEAD, answering, serving

on_a_site = pytest.mark.swarm


@pytest.fixture
def msr(site: Site) -> Iterator[Site]:
    """Give the site, whose MSR answers as it should again at the end."""
    yield site
    site.msr.misbehave("none")
    site.msr.start()


def fingerprint(pem: str) -> str:
    openssl = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(openssl, input=pem, capture_output=True, text=True, check=True).stdout
    return shown.strip().partition("=")[2].replace(":", "").lower()


def check(url: str, olds: dict[str, Any] | None = None, **trust: str) -> tuple[dict[str, Any], list[str]]:
    """Return what is known after a check, and the lines of what is wrong."""
    provider, news = configured(MsrCaProvider(), NOWHERE), {"url": url, **trust}
    try:
        return provider.check(olds or {}, {**news}).inputs, []
    except Refusal:
        return news, [refusal(provider, news, olds)]


@on_a_site
def test_the_ca_is_fetched_as_the_manual_page_does_and_known_by_its_fingerprint(msr: Site) -> None:
    known, told = check(msr.msr.url)
    assert told == []
    assert known["pem"] == msr.msr.ca_pem()
    assert known["sha256"] == fingerprint(msr.msr.ca_pem())
    assert known["subject"].endswith(",O=Lab MSR CA")
    assert known["expires"]


@on_a_site
@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("404", "msr-cache:msr.url: {url}/ca answered 404, expected 200. Check that this is MSR"),
        ("html", "msr-cache:msr.url: {url}/ca: found '"),
        ("foreign-ca", "msr-cache:msr.ca: MSR at {url} has a certificate that does not verify"),
    ],
)
def test_an_msr_that_answers_something_else_at_ca_is_reported_in_the_preview(msr: Site, mode: Mode, line: str) -> None:
    msr.msr.misbehave(mode)
    _, told = check(msr.msr.url)
    assert len(told) == 1
    assert told[0].startswith(line.format(url=msr.msr.url))


@on_a_site
def test_html_at_ca_is_reported_by_its_beginning(msr: Site) -> None:
    msr.msr.misbehave("html")
    _, (line,) = check(msr.msr.url)
    assert "which is no PEM, expected a certificate" in line


@on_a_site
def test_a_ca_that_msrs_own_chain_does_not_verify_with_is_not_trusted(msr: Site) -> None:
    msr.msr.misbehave("foreign-ca")
    _, (line,) = check(msr.msr.url)
    assert "does not verify with the trusted CA" in line


@on_a_site
def test_an_msr_that_is_down_is_reported_with_what_to_check(msr: Site) -> None:
    msr.msr.stop()
    _, (line,) = check(msr.msr.url)
    assert line.startswith(f"msr-cache:msr.url: MSR at {msr.msr.url} can't be reached from here (")
    assert "Connection refused" in line


def test_a_server_that_speaks_no_tls_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        server.listen()
        server.settimeout(5)

        def answer() -> None:
            for _attempt in range(2):  # `check` asks again for the refusal
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        _, (line,) = check(url)
        thread.join()
    assert line.startswith(f"msr-cache:msr.url: MSR at {url} can't be reached from here (")


def test_a_redirect_at_ca_is_not_followed_and_what_it_leads_to_is_not_shown(tmp_path: Path) -> None:
    with serving(tmp_path / "inside", answering(HEAD + b"\r\nan internal server's secret")) as (inside, asked):
        for target in (inside.encode(), b"http://127.0.0.1:1"):
            moved = b"HTTP/1.1 302 Found\r\nLocation: " + target + b"/ca\r\nContent-Length: 0\r\n\r\n"
            with serving(tmp_path / "msr", answering(moved)) as (url, _):
                _, (line,) = check(url)
                assert line.startswith(f"msr-cache:msr.url: {url}/ca answered 302, expected 200. Check")
    assert asked == []


@on_a_site
def test_a_pin_that_matches_is_accepted_and_another_refused(msr: Site) -> None:
    right = fingerprint(msr.msr.ca_pem())
    assert check(msr.msr.url, pin=right)[1] == []
    _, (line,) = check(msr.msr.url, pin="0a" * 32)
    assert re.match(r"msr-cache:msr\.ca\.sha256: found OU=[^,]*,O=Lab MSR CA \(SHA-256 ", line)
    assert right in line
    assert "0a" * 32 in line


@on_a_site
def test_a_given_ca_is_not_fetched_but_checked_against_msrs_chain(msr: Site) -> None:
    msr.msr.misbehave("404")
    known, told = check(msr.msr.url, given=msr.msr.ca_pem())
    assert told == []
    assert known["pem"] == msr.msr.ca_pem()
    other = issue("Another CA", address="192.0.2.1", dns_name="msr.example.com").ca
    _, (line,) = check(msr.msr.url, given=other)
    assert "does not verify with the trusted CA" in line


@on_a_site
def test_what_an_earlier_run_trusted_is_kept_while_msr_is_down(msr: Site) -> None:
    known, _ = check(msr.msr.url)
    msr.msr.stop()
    kept, told = check(msr.msr.url, olds=known)
    assert told == []
    assert kept["pem"] == known["pem"]
    assert not MsrCaProvider().diff("msr-ca", known, kept).changes


@on_a_site
def test_a_rotated_ca_is_shown_by_a_refresh_and_changes_nothing(msr: Site) -> None:
    known, _ = check(msr.msr.url)
    msr.msr.rotate_ca()
    provider = configured(MsrCaProvider(), NOWHERE)
    read = provider.read("msr-ca", known)
    assert read.outs["pem"] == known["pem"] != msr.msr.ca_pem()
    assert read.outs["offered"] == fingerprint(msr.msr.ca_pem())
    assert not provider.diff("msr-ca", known, read.inputs).changes
