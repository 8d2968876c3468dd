"""A chain is accepted if docker's client accepts it, but for weak keys: each verdict was compared with Go 1.26's."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.x509.oid import ExtendedKeyUsageOID

from msr_cache.x509 import chain as chain_module
from msr_cache.x509.chain import server_mistakes
from msr_cache.x509.pem import Given
from tests.certificates import HOST, Made, by_openssl, make, rsa_key

SANS = (HOST,)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
ROOT = make("Root", ca=True)


def chain(leaf: Made, *above: Made, root: Made = ROOT, **more: Any) -> Given:
    return Given(leaf.pem, "".join(made.pem for made in above) or None, root.pem, leaf.key, **more)


def under(root: Made = ROOT, *, leaf: dict[str, Any] | None = None, **ca: Any) -> Given:
    """A leaf, an intermediate CA that `ca` describes, and the root."""
    sub = root.sign("Sub", ca=True, **ca)
    return chain(sub.sign(HOST, **({"sans": SANS} | (leaf or {}))), sub, root=root)


def names(*permitted: str, excluded: tuple[str, ...] = (), critical: bool = True) -> dict[str, Any]:
    """Name constraints, as an option of `make`."""
    trees = [[x509.DNSName(name) for name in each] or None for each in (permitted, excluded)]
    return {"more": ((x509.NameConstraints(*trees), critical),)}


def addresses(network: str) -> dict[str, Any]:
    return {"more": ((x509.NameConstraints([x509.IPAddress(ipaddress.ip_network(network))], None), True),)}


def deep(*lengths: int | None) -> Given:
    """A chain of CAs with these path lengths, from the root's side."""
    made = [ROOT]
    for number, length in enumerate(lengths):
        made.append(made[-1].sign(f"Sub {number}", ca=True, path_length=length))
    return chain(made[-1].sign(HOST, sans=SANS), *reversed(made[1:]))


POLICY = x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.99999.2"), None)
LISTS = x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca/crl")], None, None, None)
ISSUER = x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, x509.DNSName("ca"))
POLICIES = ((x509.CertificatePolicies([POLICY]), True), (x509.CRLDistributionPoints([LISTS]), True))
FOLDER = x509.DirectoryName(x509.Name([x509.NameAttribute(x509.oid.NameOID.ORGANIZATION_NAME, "Example")]))
LOGIN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")
SMALL_ROOT = make("Small", ca=True, private=rsa_key(1024))
ED25519_ROOT = make("Ed25519", ca=True, private=Ed25519PrivateKey.generate())
CONSTRAINED_ROOT = make("Root", ca=True, **names("example.org"))
CLIENTS_ROOT = make("Root", ca=True, more=((CLIENTS, False),))
SUB = ROOT.sign("Sub", ca=True)
LEAF = SUB.sign(HOST, sans=SANS)
# A number of that size; a key takes a minute to find.
LARGE = SUB.sign(
    HOST, private=SimpleNamespace(public_key=RSAPublicNumbers(65537, (1 << 8199) + 1).public_key), sans=SANS
)
SELF_SIGNED_CA = make(HOST, ca=True, sans=SANS, signs=None)
OLD_ROOT = by_openssl("Old root")
OLD_SUB = by_openssl("Sub", signer=ROOT)
SHA1_ROOT = by_openssl("Root", "-sha1", extensions="basicConstraints=critical,CA:TRUE")

ACCEPTED: dict[str, Given] = {
    "name constraints for the parent domain": under(**names("example.com")),
    "name constraints for the host": under(**names(HOST)),
    "name constraints for another domain too": under(**names("example.org", "example.com")),
    "name constraints for all below a domain": under(**names(".EXAMPLE.com")),
    "name constraints for all below a domain, by a wildcard": under(
        **names(".asia.example.com"), leaf={"sans": ("*.asia.example.com",)}
    ),
    "name constraints for every name": under(**names("")),
    "name constraints in the root for all below a domain": under(make("Root", ca=True, **names(".example.com"))),
    "all below the host excluded": under(**names(excluded=(f".{HOST}", ".example.org"))),
    "name constraints for names in folders, not critical": under(
        more=((x509.NameConstraints([x509.DNSName(".example.com"), FOLDER], None), False),)
    ),
    "another domain excluded": under(**names(excluded=("example.org",))),
    "an address in the permitted network": under(**addresses("192.0.2.0/24"), leaf={"sans": (HOST, "192.0.2.7")}),
    "an intermediate for servers": under(more=((SERVERS, False),)),
    "an intermediate for clients and servers": under(
        more=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), True),)
    ),
    "an intermediate for any use": under(
        more=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),)
    ),
    "critical policies and places of revocation lists": under(more=POLICIES, leaf={"more": POLICIES}),
    "an unknown extension that is not critical": under(more=((UNKNOWN, False),), leaf={"more": ((UNKNOWN, False),)}),
    "no key usage in the CAs": under(make("Root", ca=True, signs=None), signs=None, leaf={"signs": None}),
    "key identifiers that clients don't compare": under(
        more=((x509.SubjectKeyIdentifier(b"1"), False),),
        leaf={"more": ((x509.AuthorityKeyIdentifier(b"2", None, None), False),)},
    ),
    "the issuer's name and number as its identifier": under(
        leaf={"more": ((x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(SUB.certificate.subject)], 7), False),)}
    ),
    "P-384": under(make("Root", ca=True, private=ec.generate_private_key(ec.SECP384R1()))),
    "P-521": under(leaf={"private": ec.generate_private_key(ec.SECP521R1())}),
    "Ed25519 in the leaf": under(leaf={"private": Ed25519PrivateKey.generate()}),
    "a self-signed CA as docker's manual makes it": chain(SELF_SIGNED_CA, root=SELF_SIGNED_CA),
    "an intermediate as the root of trust": chain(LEAF, root=SUB),
    "in another order": chain(LEAF, ROOT, SUB),
    "a certificate too many": chain(LEAF, SUB, make("Elsewhere", ca=True)),
    "twice the same": chain(LEAF, SUB, SUB),
    "as deep as allowed": deep(1, 0),
    "an address": chain(SUB.sign(HOST, sans=(HOST, "192.0.2.7", "2001:db8::7")), SUB),
    "a critical subject alternative name": under(
        leaf={"sans": (), "more": ((x509.SubjectAlternativeName([x509.DNSName(HOST)]), True),)}
    ),
    "odd names beside the right one": under(leaf={"sans": (HOST, "under_score.example.com", "*", "a..b")}),
    "twenty years": under(make("Root", ca=True, days=(-1, 9000)), days=(-1, 9000), leaf={"days": (-1, 8000)}),
    "a root of X.509 version 1": chain(OLD_ROOT.sign(HOST, sans=SANS), root=OLD_ROOT),
    "an intermediate below a root of X.509 version 1": under(OLD_ROOT),
    "a key usage without digitalSignature": under(leaf={"signs": False}),
    "a root that is signed with SHA-1": under(SHA1_ROOT),
}
REFUSED: dict[str, tuple[Given, str, str]] = {
    "name constraints for another domain": (under(**names("example.org")), "intermediates", "name constraint"),
    "name constraints that are not critical": (
        under(**names("example.org", critical=False)),
        "intermediates",
        "name constraint",
    ),
    "the domain excluded": (under(**names(excluded=("example.com",))), "intermediates", "name constraint"),
    "name constraints for all below another domain": (under(**names(".example.org")), "intermediates", "constraint"),
    "name constraints for all below the host": (under(**names(f".{HOST}")), "intermediates", "name constraint"),
    "all below a domain excluded": (under(**names(excluded=(".example.com",))), "intermediates", "name constraint"),
    "every name excluded": (under(**names(excluded=("",))), "intermediates", "name constraint"),
    "name constraints that are no name": (under(**names("..example.com")), "intermediates", "name constraint"),
    "critical name constraints for names in folders": (
        under(more=((x509.NameConstraints([x509.DNSName(".example.com"), FOLDER], None), True),)),
        "intermediates",
        "critical name constraints of a kind that clients don't know",
    ),
    "critical name constraints for names of a kind of their own": (
        under(more=((x509.NameConstraints([x509.DNSName("example.com"), LOGIN], None), True),)),
        "intermediates",
        "critical name constraints of a kind that clients don't know",
    ),
    "a CA for names below the domain and for clients": (
        under(more=((CLIENTS, False), *names(".example.com")["more"])),
        "intermediates",
        "it is not for servers",
    ),
    "an address outside of the permitted network": (
        under(**addresses("198.51.100.0/24"), leaf={"sans": (HOST, "192.0.2.7")}),
        "intermediates",
        "name constraint",
    ),
    "name constraints in the root": (under(CONSTRAINED_ROOT), "ca", "name constraint"),
    "a certificate for clients": (
        under(leaf={"uses": (ExtendedKeyUsageOID.CLIENT_AUTH,)}),
        "certificate",
        f"CN={HOST}, which does not verify for {HOST}: it is not for servers",
    ),
    "an intermediate for clients": (
        under(more=((CLIENTS, False),)),
        "intermediates",
        f"found CN=Sub, which does not verify for {HOST}: it is not for servers",
    ),
    "a root for clients": (under(CLIENTS_ROOT), "ca", "found CN=Root, which does not verify"),
    "an intermediate that may not sign": (under(signs=False), "intermediates", "found CN=Sub, which does not verify"),
    "a root that may not sign": (under(make("Root", ca=True, signs=False)), "ca", "found CN=Root, which does not ver"),
    "an unknown critical extension in the leaf": (under(leaf={"more": ((UNKNOWN, True),)}), "certificate", "1.3.6.1"),
    "an unknown critical extension in a CA": (under(more=((UNKNOWN, True),)), "intermediates", "1.3.6.1.4.1.99999.1"),
    "a critical key identifier of a CA": (
        under(more=((x509.SubjectKeyIdentifier(b"1"), True),)),
        "intermediates",
        "criticality",
    ),
    "a critical key identifier of the leaf": (
        under(leaf={"more": ((x509.AuthorityKeyIdentifier(b"1", None, None), True),)}),
        "certificate",
        "criticality",
    ),
    "a critical place of the issuer's certificate": (
        under(leaf={"more": ((x509.AuthorityInformationAccess([ISSUER]), True),)}),
        "certificate",
        "criticality",
    ),
    "a CA that requires policies, of which there are none": (
        under(more=((x509.PolicyConstraints(0, None), False),)),
        "intermediates",
        "found CN=Sub, which does not verify",
    ),
    "secp256k1": (
        under(leaf={"private": ec.generate_private_key(ec.SECP256K1())}),
        "certificate",
        "some clients refuse (secp256k1), expected RSA",
    ),
    "DSA": (under(leaf={"private": dsa.generate_private_key(1024)}), "certificate", "(DSA)"),  # noqa: S505
    "a large key": (Given(LARGE.pem, SUB.pem, ROOT.pem), "certificate", "(RSA of 8200 bits)"),
    "deeper than allowed": (deep(0, None), "intermediates", "found CN=Sub 0, which does not verify"),
    "an intermediate of X.509 version 1": (
        chain(OLD_SUB.sign(HOST, sans=SANS), OLD_SUB),
        "intermediates",
        "found CN=Sub, which does not verify",
    ),
}
# Docker's client would take these, but not all others would; the last one our verifier doesn't know.
STRICTER: dict[str, tuple[Given, str, str]] = {
    "P-224": (under(private=ec.generate_private_key(ec.SECP224R1())), "intermediates", "(secp224r1)"),
    "a root with a small key": (under(SMALL_ROOT), "ca", "(RSA of 1024 bits)"),
    "an Ed25519 root": (under(ED25519_ROOT), "ca", "(Ed25519)"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_dockers_client_accepts_is_accepted(case: str) -> None:
    assert server_mistakes(ACCEPTED[case], SANS) == []


def test_a_chain_without_end_is_refused_as_by_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with 110 CAs, which take long to verify."""
    monkeypatch.setattr(chain_module, "_DEEPEST", 3)
    assert server_mistakes(deep(*[None] * 3), SANS) == []
    ((_, problem),) = server_mistakes(deep(*[None] * 5), SANS)
    assert "exceeds max depth" in problem


@pytest.mark.parametrize("case", [*REFUSED, *STRICTER])
def test_what_dockers_client_refuses_is_refused_with_the_culprit_and_its_key(case: str) -> None:
    given, key, words = (REFUSED | STRICTER)[case]
    found = server_mistakes(given, SANS)
    assert [at for at, _ in found] == [key], found
    assert words in found[0][1]
