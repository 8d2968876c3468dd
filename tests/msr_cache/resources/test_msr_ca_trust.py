"""What is trusted of an MSR that answers over real TLS: all that is kept is pinned or seen before, and verifies."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from msr_cache.refusal import Refusal
from msr_cache.resources.msr_ca import MsrCaProvider
from msr_cache.x509 import pem
from tests.certificates import Made, make
from tests.msr_cache.test_https import HEAD, answering, serving

CA = make("MSR CA", ca=True)
REISSUED = CA.again(ca=True)
ATTACKER = make("MSR CA", ca=True)


FINGERPRINT = ("openssl", "x509", "-noout", "-fingerprint", "-sha256")


class Msr:
    """MSR as far as its CA goes: `answer` is what it says at /ca, its own certificate is CA's."""

    def __init__(self, folder: Path, ca: Made = CA) -> None:
        self.answer = ca.pem
        self.status = 200
        self.asked = 0
        self._files = folder / "server.pem", folder / "server.key"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.serve_as(ca.sign("msr", sans=("127.0.0.1",)))
        msr = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                msr.asked += 1
                self.send_response(msr.status)
                self.end_headers()
                self.wfile.write(msr.answer.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = self._context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def serve_as(self, made: Made) -> None:
        for file, text in zip(self._files, (made.pem, made.key), strict=True):
            file.write_text(text)
        self._context.load_cert_chain(*self._files)


@pytest.fixture
def msr(tmp_path: Path) -> Iterator[Msr]:
    started = Msr(tmp_path)
    yield started
    started.server.shutdown()
    started.server.server_close()


def check(msr: Msr, olds: dict[str, Any] | None = None, *pins: str, **more: str) -> tuple[dict[str, Any], str]:
    """What the engine is told: inputs, and the reason of a refusal."""
    news = {"url": msr.url, **({"pin": pins[0] if len(pins) == 1 else list(pins)} if pins else {}), **more}
    try:
        return MsrCaProvider().check(olds or {}, {**news}).inputs, ""
    except Refusal as error:
        return news, str(error)


def remembered(msr: Msr, *pins: str) -> dict[str, Any]:
    props, refusal = check(msr, None, *pins)
    assert not refusal
    return props


def refresh(props: dict[str, Any]) -> dict[str, Any]:
    return MsrCaProvider().read("msr-ca", props).outs or {}


def test_the_first_ca_seen_is_remembered_and_not_asked_for_again(msr: Msr) -> None:
    props = remembered(msr)
    shown = subprocess.run(FINGERPRINT, input=CA.pem, capture_output=True, text=True, check=True).stdout
    assert props["sha256"] == shown.strip().partition("=")[2].replace(":", "").lower()
    assert (props["subject"], props["expires"]) == ("CN=MSR CA", CA.certificate.not_valid_after_utc.isoformat())
    asked = msr.asked
    msr.answer = ATTACKER.pem
    assert check(msr, props)[0] == props
    assert msr.asked == asked


PINS = {"of the certificate": pem.sha256(CA.certificate), "of its key": pem.key_sha256(CA.certificate)}


@pytest.mark.parametrize("pin", PINS)
def test_a_pin_lets_its_ca_through_and_no_other_of_the_same_name(msr: Msr, pin: str) -> None:
    assert remembered(msr, PINS[pin])["pem"] == CA.pem
    msr.answer = ATTACKER.pem
    _, refusal = check(msr, None, PINS[pin])
    assert pem.sha256(ATTACKER.certificate) in refusal
    assert PINS[pin] in refusal


def test_a_reissued_ca_is_covered_by_the_pin_of_its_key_and_not_by_that_of_the_certificate(msr: Msr) -> None:
    by_key, by_certificate = (remembered(msr, pin) for pin in reversed(PINS.values()))
    msr.answer = REISSUED.pem
    new = pem.sha256(REISSUED.certificate)
    assert refresh(by_key)["sha256"] == new
    kept = refresh(by_certificate)
    assert (kept["sha256"], kept["offered"]) == (pem.sha256(CA.certificate), new)


def test_one_right_certificate_beside_another_is_refused_with_and_without_a_pin(msr: Msr) -> None:
    for bundle in (CA.pem + ATTACKER.pem, ATTACKER.pem + CA.pem):
        msr.answer = bundle
        assert "found 2 certificates" in check(msr)[1]
        for pin in PINS.values():
            assert pem.sha256(ATTACKER.certificate) in check(msr, None, pin)[1]


def test_a_bundle_is_kept_where_each_certificate_is_pinned(msr: Msr) -> None:
    msr.answer = CA.pem + ATTACKER.pem
    props = remembered(msr, *(pem.sha256(made.certificate) for made in (CA, ATTACKER)))
    assert props["pem"] == CA.pem + ATTACKER.pem


def test_a_rotated_ca_is_offered_and_not_trusted_until_a_pin_names_it(msr: Msr) -> None:
    old = remembered(msr)
    new_ca = make("New MSR CA", ca=True)
    msr.answer = new_ca.pem
    msr.serve_as(new_ca.sign("msr", sans=("127.0.0.1",)))
    seen = refresh(old)
    new = pem.sha256(new_ca.certificate)
    assert (seen["pem"], seen["offered"]) == (CA.pem, new)
    assert check(msr, seen)[0]["pem"] == CA.pem
    accepted, refusal = check(msr, seen, new)
    assert not refusal
    assert (accepted["pem"], accepted.get("offered")) == (new_ca.pem, None)
    unpinned, _ = check(msr, accepted)
    assert unpinned["pem"] == new_ca.pem
    msr.answer = CA.pem
    msr.serve_as(CA.sign("msr", sans=("127.0.0.1",)))
    assert refresh(seen)["offered"] is None, "the offer ends with the rotation that was taken back"


@pytest.mark.parametrize("pins", [[], [pem.sha256(CA.certificate)]], ids=["trusted on first use", "pinned before"])
def test_another_url_has_another_ca(msr: Msr, tmp_path: Path, pins: list[str]) -> None:
    old = remembered(msr, *pins)
    (tmp_path / "other").mkdir()
    other = Msr(tmp_path / "other", ATTACKER)
    assert check(other, old)[0]["pem"] == ATTACKER.pem
    other.server.shutdown()
    other.server.server_close()


def test_a_pin_set_beforehand_lets_the_next_refresh_take_the_new_ca(msr: Msr) -> None:
    new_ca = make("New MSR CA", ca=True)
    props = remembered(msr, *(pem.sha256(made.certificate) for made in (CA, new_ca)))
    msr.answer = new_ca.pem
    msr.serve_as(new_ca.sign("msr", sans=("127.0.0.1",)))
    assert refresh(props)["pem"] == new_ca.pem


WRONG: dict[str, tuple[str, str]] = {
    "a leaf": (CA.sign("msr", sans=("127.0.0.1",)).pem, "which is no CA"),
    "expired": (CA.again(ca=True, days=(-9, -1)).pem, "which expired on"),
    "not yet valid": (CA.again(ca=True, days=(2, 9)).pem, "which is not valid before"),
    "a page": ("<html>", "which is no PEM"),
    "another CA than MSR's TLS": (ATTACKER.pem, "does not verify with the trusted CA"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_ca_of_this_msr_is_refused_even_if_pinned(msr: Msr, case: str) -> None:
    msr.answer, words = WRONG[case]
    pins = [] if case == "a page" else [pem.sha256(pem.certificates(msr.answer)[0])]
    key = "url" if case == "a page" else "ca"
    for told in (check(msr, None, *pins)[1], check(msr)[1]):
        assert told.startswith(f"msr-cache:msr.{key}: ")
        assert words in told


def test_an_msr_that_answers_no_ca_or_not_at_all_is_reported_with_what_to_check(msr: Msr) -> None:
    msr.status = 404
    assert check(msr)[1].startswith(
        f"msr-cache:msr.url: {msr.url}/ca answered 404, expected 200. Check that this is MSR"
    )
    msr.server.shutdown()
    msr.server.server_close()
    told = check(msr)[1]
    assert told.startswith(f"msr-cache:msr.url: MSR at {msr.url} can't be reached from here (")
    assert "Connection refused" in told


def test_a_server_that_speaks_no_tls_is_reported() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(Refusal, match=rf"^msr-cache:msr\.url: MSR at {url} can't be reached from here \("):
            MsrCaProvider().check({}, {"url": url})
        server.shutdown()


def test_a_redirect_at_ca_is_not_followed_and_what_it_leads_to_is_not_shown(msr: Msr, tmp_path: Path) -> None:
    with serving(tmp_path / "inside", answering(HEAD + b"\r\nan internal server's secret")) as (inside, asked):
        for target in (inside.encode(), b"http://127.0.0.1:1"):
            moved = b"HTTP/1.1 302 Found\r\nLocation: " + target + b"/ca\r\nContent-Length: 0\r\n\r\n"
            with serving(tmp_path / "msr", answering(moved)) as (msr.url, _):
                assert check(msr)[1].startswith(f"msr-cache:msr.url: {msr.url}/ca answered 302, expected 200. Check")
    assert asked == []


def test_a_certificate_of_the_right_ca_for_another_host_is_refused(msr: Msr) -> None:
    msr.serve_as(CA.sign("msr", sans=("msr.example.com",)))
    assert "does not verify with the trusted CA" in check(msr)[1]


def test_a_given_ca_is_not_asked_for_and_must_verify(msr: Msr) -> None:
    props, _ = check(msr, None, given=CA.pem)
    assert props["pem"] == refresh(props)["pem"] == CA.pem
    assert "does not verify" in check(msr, None, given=ATTACKER.pem)[1]
    assert msr.asked == 0


@pytest.mark.parametrize("given", [{}, {"given": CA.pem}], ids=["fetched", "given"])
def test_a_refresh_of_an_msr_that_is_down_keeps_its_ca_and_says_so_until_it_is_back(
    msr: Msr, tmp_path: Path, given: dict[str, str]
) -> None:
    """An MSR that is down must not keep an operator from repairing the swarm."""
    props, _ = check(msr, None, **given)
    msr.server.shutdown()
    msr.server.server_close()
    known = refresh(props)
    assert "can't be reached" in known.pop("unchecked")
    assert known == props
    assert not MsrCaProvider().diff("msr-ca", props, known).changes
    back = Msr(tmp_path)
    assert refresh({**props, "url": back.url, "unchecked": "a reason"})["unchecked"] is None
    back.server.shutdown()
