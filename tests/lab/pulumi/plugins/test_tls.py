"""The stand-in for pulumi-tls's plugin makes what openssl takes, and replaces what is due."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.pulumi.plugins.provider import StepError
from lab.pulumi.plugins.tls import _find

SUBJECT = {"commonName": "cache.example.com", "organization": "Example"}
USES = ["digital_signature", "key_encipherment", "server_auth"]


def made(type_: str, **news: Any) -> dict[str, Any]:
    """Check and create a resource; return its state."""
    provider = _find(f"tls:index/{type_[0].lower()}{type_[1:]}:{type_}", {})
    assert provider
    _, outs = provider.create(provider.check("it", news))
    return outs


@pytest.fixture(params=[{"algorithm": "RSA"}, {"algorithm": "ECDSA", "ecdsaCurve": "P384"}], ids=["RSA", "P-384"])
def key(request: pytest.FixtureRequest) -> str:
    pem: str = made("PrivateKey", **request.param)["privateKeyPem"]
    return pem


def openssl(*words: str | Path, stdin: str = "") -> str:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, text=True, check=True).stdout


def test_a_ca_signs_a_request_and_openssl_verifies_the_certificate(key: str, tmp_path: Path) -> None:
    ca = made(
        "SelfSignedCert",
        privateKeyPem=key,
        subject={"commonName": "CA"},
        isCaCertificate=True,
        allowedUses=["cert_signing"],
        validityPeriodHours=48,
    )["certPem"]
    request = made("CertRequest", privateKeyPem=key, subject=SUBJECT, dnsNames=["cache.example.com"])["certRequestPem"]
    local = {"certRequestPem": request, "caPrivateKeyPem": key, "caCertPem": ca}
    cert = made("LocallySignedCert", **local, allowedUses=USES, validityPeriodHours=24)["certPem"]
    (tmp_path / "ca.pem").write_text(ca)
    (tmp_path / "cert.pem").write_text(cert)
    purpose = ("-purpose", "sslserver", "-verify_hostname", "cache.example.com")
    assert openssl("verify", "-CAfile", tmp_path / "ca.pem", *purpose, tmp_path / "cert.pem").endswith(": OK\n")
    about = openssl("x509", "-noout", "-subject", "-ext", "subjectAltName,extendedKeyUsage", stdin=cert)
    assert "O = Example, CN = cache.example.com" in about
    assert "DNS:cache.example.com" in about
    assert "TLS Web Server Authentication" in about


def test_a_certificate_that_is_due_is_replaced_and_one_that_is_not_is_left() -> None:
    """pulumi-tls: readyForRenewal, from earlyRenewalHours before the end on."""
    key = made("PrivateKey", algorithm="ECDSA", ecdsaCurve="P256")["privateKeyPem"]
    news = {"privateKeyPem": key, "allowedUses": USES, "validityPeriodHours": 9}
    outs = made("SelfSignedCert", **news, earlyRenewalHours=8)
    provider = _find("tls:index/selfSignedCert:SelfSignedCert", {})
    assert provider
    assert provider.diff(outs, {**news, "earlyRenewalHours": 8}).changes is False
    earlier = provider.diff(outs, {**news, "earlyRenewalHours": 7})
    assert (earlier.changes, earlier.replaces) == (True, [])
    due = provider.diff(outs, {**news, "earlyRenewalHours": 9})
    assert due.replaces == ["readyForRenewal"]
    longer = provider.diff(outs, {**news, "validityPeriodHours": 10, "earlyRenewalHours": 8})
    assert longer.replaces == ["validityPeriodHours"]


def test_a_use_that_is_not_known_is_named() -> None:
    with pytest.raises(
        StepError, match=r"^tls:index/selfSignedCert:SelfSignedCert it\.allowedUses: .* does not know code_signing"
    ):
        made("SelfSignedCert", privateKeyPem="", allowedUses=["code_signing"], validityPeriodHours=1)
