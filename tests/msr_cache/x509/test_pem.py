"""What a PEM text really is; fingerprints are compared with openssl's."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from lab.authority import issue
from msr_cache.x509 import pem
from tests.certificates import by_openssl, make, rsa_key

TLS = issue("Site CA", address="192.0.2.1", dns_name="msr.example.com")
SERVER = x509.load_pem_x509_certificate(TLS.certificate.encode()).subject.rfc4514_string()


def openssl(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_fingerprint_is_openssls() -> None:
    shown = openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=TLS.ca)
    assert pem.sha256_of(TLS.ca) == shown.partition("=")[2].replace(":", "").lower()


def test_the_keys_fingerprint_is_that_of_kubeadms_recipe(tmp_path: Path) -> None:
    """Kubernetes documentation, kubeadm join: the SHA-256 of what `openssl pkey -pubin -outform der` gives."""
    der = tmp_path / "key.der"
    public = openssl("x509", "-noout", "-pubkey", stdin=TLS.ca)
    openssl("pkey", "-pubin", "-outform", "der", "-out", str(der), stdin=public)
    digest = openssl("dgst", "-sha256", "-r", str(der)).partition(" ")[0]
    assert pem.key_sha256(pem.certificates(TLS.ca)[0]) == f"sha256:{digest}"


@pytest.mark.parametrize(
    "around", ["{}", "\n\n{}\n", "# MSR's CA\n{}", "{}\nrest", "{}" + make("Another CA", ca=True).pem]
)
def test_text_or_another_ca_around_a_ca_does_no_harm(around: str) -> None:
    assert pem.ca_problem(around.format(TLS.ca)) is None


def test_a_root_of_x509_version_1_may_sign() -> None:
    old = by_openssl("Old root")
    assert old.certificate.version is x509.Version.v1
    assert pem.ca_problem(old.pem) is None


def test_each_of_several_certificates_must_be_a_ca() -> None:
    problem = pem.ca_problem(TLS.ca + TLS.certificate)
    assert problem
    assert problem.startswith(f"found the certificate of {SERVER}, which is no CA")


def test_an_expired_ca_is_told_with_its_last_day() -> None:
    problem = pem.ca_problem(make("Site CA", ca=True, days=(-20, -10)).pem)
    assert problem
    assert problem.startswith("found CA CN=Site CA, which expired on ")
    assert f"{datetime.now(UTC) - timedelta(days=10):%Y-%m-%d}" in problem


def test_a_ca_of_tomorrow_is_told_with_its_first_day_and_the_clock_that_may_be_behind() -> None:
    problem = pem.ca_problem(make("Site CA", ca=True, days=(2, 10)).pem) or ""
    day, now = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (2, 0))
    assert problem.startswith(f"found CA CN=Site CA, which is not valid before {day} ")
    assert f" UTC; this machine's clock says {now} " in problem


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "nothing"),
        (f"<html>{'x' * 40}", f"'<html>{'x' * 31}...'"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "BEGIN CERTIFICATE"),
        (TLS.ca[:-40], "BEGIN CERTIFICATE"),
    ],
    ids=["nothing", "HTML", "no certificate inside", "cut off"],
)
def test_what_is_no_certificate_is_told_by_its_beginning(text: str, found: str) -> None:
    problem = pem.ca_problem(text)
    assert problem
    assert "which is no PEM" in problem
    assert found in problem
    assert "\n" not in problem


def test_a_ca_whose_key_is_too_small_is_told_with_what_is_allowed() -> None:
    problem = pem.ca_problem(make("Small", ca=True, private=rsa_key(1024)).pem)
    assert problem
    assert problem.startswith("found CN=Small, whose key some clients refuse (RSA of 1024 bits), expected RSA of 2048")


def test_a_private_key_is_refused_and_not_shown() -> None:
    problem = pem.ca_problem(TLS.key)
    assert problem == "found a private key, expected a certificate in PEM"
