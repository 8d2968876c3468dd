"""The cache's own key and certificate, as they are asked of pulumi-tls; how soon it ends is said in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi
import pytest
from pulumi.runtime import rpc

from msr_cache.refusal import Refusal
from msr_cache.resources.signed_certificate import SignedCertificateProvider
from tests.certificates import HOST, Made, make
from tests.msr_cache.conftest import CACHE_TLS, MSR_TLS, Program, Recorder, declared, plain, visible

GIVEN = {"source": "csr", "certificate": make(HOST, sans=(HOST,)).pem}


def test_the_certificate_is_for_a_server_of_the_nodes_fqdn() -> None:
    asked = plain(declared().one("SelfSignedCert").inputs)
    assert asked["dnsNames"] == ["cache.asia.example.com"]
    assert "ipAddresses" not in asked
    assert asked["subject"] == {"commonName": "cache.asia.example.com"}
    assert set(asked["allowedUses"]) == {"digital_signature", "key_encipherment", "server_auth"}
    assert not asked.get("isCaCertificate")


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1"])
def test_an_address_is_an_ip_san_since_clients_do_not_look_for_it_among_names(address: str) -> None:
    """RFC 2818, 3.1: an IP address in the URI must match an iPAddress SAN."""
    asked = plain(declared({".fqdn": address}).one("SelfSignedCert").inputs)
    assert asked["ipAddresses"] == [address]
    assert "dnsNames" not in asked


def test_a_long_fqdn_is_whole_in_the_san_and_cut_in_the_common_name() -> None:
    """X.520: a common name has at most 64 characters."""
    fqdn = f"{'a' * 60}.{'b' * 20}.example.com"
    asked = plain(declared({".fqdn": fqdn}).one("SelfSignedCert").inputs)
    assert asked["dnsNames"] == [fqdn]
    assert asked["subject"] == {"commonName": fqdn[:64]}


KINDS = {
    **{f"rsa{bits}": ("RSA", bits, None) for bits in (2048, 3072, 4096)},
    **{f"ecdsaP{bits}": ("ECDSA", None, f"P{bits}") for bits in (256, 384)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_made_of_the_kind_that_is_asked_for(kind: str) -> None:
    program = declared({".tls": {"keyType": kind}})
    key = program.one("PrivateKey").inputs
    assert (key["algorithm"], key.get("rsaBits"), key.get("ecdsaCurve")) == KINDS[kind]
    uses = plain(program.one("SelfSignedCert").inputs)["allowedUses"]
    assert ("key_encipherment" in uses) is kind.startswith("rsa"), "RFC 8422: an ECDSA key encrypts nothing"


def data_of(program: Program, part: str) -> Any:
    return program.one("SwarmSecret", f"asia-cache.{part}.pem-file").inputs["data"]


def test_the_stacks_own_ca_signs_certificates_and_nothing_else_does() -> None:
    program = declared({".tls": {"source": "localCa"}})
    root = plain(program.one("SelfSignedCert").inputs)
    assert (root["isCaCertificate"], root["setSubjectKeyId"]) == (True, True)
    assert root["allowedUses"] == ["cert_signing", "crl_signing"]
    assert root["subject"] == {"commonName": "MSR caches of msr-cache/prod"}
    assert (root["validityPeriodHours"], root["earlyRenewalHours"]) == (7300 * 24, 3650 * 24)
    signed = plain(program.one("LocallySignedCert").inputs)
    assert (signed["certRequestPem"], signed["caCertPem"]) == ("CSR", CACHE_TLS.certificate)
    assert plain(data_of(program, "cert")) == MSR_TLS.certificate
    cache = program.outputs["caches"]["asia"]
    assert (cache["certificatePem"], cache["certificateExpires"]) == (CACHE_TLS.certificate, "2036-02-03T04:05:06Z")


ROOT = make("Root", ca=True, days=(-1, 9000))
ISSUER = ROOT.sign("Issuer", ca=True, days=(-1, 800))


@pytest.mark.usefixtures("secret_config")
@pytest.mark.parametrize("issuer", [ISSUER, ISSUER.again(signer=ROOT, ca=True, days=(-1, 8000))])
def test_a_given_ca_is_sent_with_what_it_signs_and_its_key_is_secret(issuer: Made) -> None:
    given = {"certificate": issuer.pem + ROOT.pem, "key": issuer.key}
    program = declared({".tls": {"source": "localCa"}, "localCa": given})
    signed = program.one("LocallySignedCert").inputs
    assert (visible(signed["caPrivateKeyPem"]), plain(signed["caPrivateKeyPem"])) == ("[secret]", issuer.key)
    assert plain(signed["caCertPem"]) == issuer.pem
    assert plain(data_of(program, "cert")) == MSR_TLS.certificate + issuer.pem
    cache = program.outputs["caches"]["asia"]
    assert cache["certificatePem"] == ROOT.pem
    ends = f"{issuer.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert cache["certificateExpires"] == min(ends, "2036-02-03T04:05:06Z"), "the CA's end or that of what it signs"


@pytest.mark.usefixtures("secret_config")
def test_a_given_certificate_is_served_as_it_is_and_its_key_is_secret() -> None:
    leaf = ISSUER.sign(HOST, sans=(HOST,))
    given = {"source": "provided", "certificate": leaf.pem + ISSUER.pem + ROOT.pem, "key": leaf.key}
    program = declared({".tls": given})
    assert program.of("PrivateKey") == []
    assert (visible(data_of(program, "key")), plain(data_of(program, "key"))) == ("[secret]", leaf.key)
    assert visible(program.one("CacheSettings").inputs)["certificate"]["subject"] == f"CN={HOST}"
    assert plain(data_of(program, "cert")) == leaf.pem + ISSUER.pem
    assert program.outputs["caches"]["asia"]["certificatePem"] == ROOT.pem


@pytest.mark.usefixtures("secret_config")
def test_a_signed_certificate_for_another_key_is_refused_before_anything_changes() -> None:
    program = declared({".tls": GIVEN})
    check = plain(program.one("SignedCertificate").inputs)
    assert (check["publicKeyPem"], check["certificatePem"]) == ("PUBLIC", GIVEN["certificate"])
    assert check["at"] == "msr-cache:caches.asia.tls.certificate"
    assert "asia-signed" in {urn.rpartition("::")[2] for urn in program.one("NodeLabel").dependencies}
    leaf, other = make(HOST), make(HOST)
    wanted = {"at": "at", "certificatePem": leaf.pem}
    provider = SignedCertificateProvider()
    for key in (leaf.public, rpc.UNKNOWN):
        assert provider.check({}, {**wanted, "publicKeyPem": key}).failures == []
    with pytest.raises(Refusal, match=r"^at: found the certificate of another key"):
        provider.check({}, {**wanted, "publicKeyPem": other.public})


def test_a_cache_that_waits_for_your_ca_keeps_what_clients_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(declared({".tls": {"source": "csr"}}).of("SelfSignedCert")) == 1
    known = Recorder._found

    def found(recorder: Recorder, kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"sources": {"asia": "localCa"}} if kind == "TlsSources" else known(recorder, kind, inputs)

    monkeypatch.setattr(Recorder, "_found", found)
    program = declared({".tls": {"source": "csr", "renewDays": 20}})
    assert [each.name for each in program.of("LocallySignedCert")] == ["asia-cache.cert.pem"]
    (warning,) = program.warnings
    assert warning.startswith("msr-cache:caches.asia.tls: the cache keeps its certificate of localCa")
    assert program.outputs["caches"]["asia"]["certificateRequestPem"] == "CSR"


def test_validity_and_renewal_are_told_in_hours() -> None:
    tls = {"validityDays": 90, "renewDays": 10}
    asked = plain(declared({".tls": tls}).one("SelfSignedCert").inputs)
    assert (asked["validityPeriodHours"], asked["earlyRenewalHours"]) == (90 * 24, 10 * 24)


def said(days_left: float, **tls: object) -> str:
    """Return what the hook warns of before the rollout's update."""
    ends = datetime.now(UTC) + timedelta(days=days_left)
    # With nanoseconds, as pulumi-tls writes it.
    old = {"certificateExpires": f"{ends:%Y-%m-%dT%H:%M:%S}.123456789Z"}
    hook = declared({".tls": tls}).hooks["asia-renewal"]
    warned: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulumi.log.warn", warned.append)
        hook.callback(pulumi.ResourceHookArgs("urn", "id", "asia", "type", {}, old))
    assert all(f"the certificate expires on {ends:%Y-%m-%d}, in " in each for each in warned)
    return "".join(warned)


@pytest.mark.parametrize(
    ("days_left", "words"),
    [
        (59.5, "in 59 days: the first pulumi up within renewDays (30) of that makes a new one"),
        (30.5, "in 30 days: the first pulumi up within renewDays (30)"),
        (29.5, "in 29 days, which is within renewDays (30): this run makes a new one"),
        (-3, "in 0 days, which is within renewDays (30): this run makes a new one"),
    ],
)
def test_the_end_of_a_certificate_that_the_stack_makes_is_said_from_twice_the_window_on(
    days_left: float, words: str
) -> None:
    assert words in said(days_left)


@pytest.mark.parametrize(("days_left", "renew_days"), [(61, 30), (365, 30), (1, 0)])
def test_nothing_is_said_before(days_left: float, renew_days: int) -> None:
    assert not said(days_left, renewDays=renew_days)


def test_of_a_given_certificate_it_is_said_that_somebody_must_give_the_next() -> None:
    assert "in 40 days: give a renewed one before fewer than renewDays (30) are left" in said(40.5, **GIVEN)
