"""Each wrong certificate, key and chain is refused by name; what real clients accept is accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from msr_cache.x509.chain import ca_mistakes, chain_of, server_mistakes
from msr_cache.x509.pem import Given
from tests.certificates import HOST, Made, by_openssl, make, rsa_key

ROOT = make("Root", ca=True)
OTHER = make("Other root", ca=True)
SUB = ROOT.sign("Sub", ca=True, path_length=0)
SECOND = SUB.sign("Second", ca=True)
LEAF = SUB.sign(HOST, sans=(HOST,))
HOSTS = (HOST,)


def given(leaf: Made, *chain: Made, root: Made | None = ROOT, **more: Any) -> Given:
    """A certificate with its key, and what stands after it in the same file."""
    text = leaf.pem + "".join(made.pem for made in chain)
    return replace(Given(text, ca=root.pem if root else None, key=leaf.key, window=30), **more)


RIGHT = given(LEAF, SUB)


def server(**options: Any) -> Given:
    """A leaf of the sub CA that is right but for these options."""
    return given(SUB.sign(HOST, **({"sans": HOSTS} | options)), SUB)


def damaged(oid: x509.ObjectIdentifier) -> Given:
    return server(sans=(), signs=None, more=((x509.UnrecognizedExtension(oid, b"\x30\x05"), True),))


def again(made: Made, **options: Any) -> Made:
    return made.again(signer=ROOT, **({"ca": True} | options))


ACCEPTED: dict[str, tuple[Given, tuple[str, ...]]] = {
    "intermediate appended": (RIGHT, HOSTS),
    "intermediate apart": (given(LEAF, intermediates=SUB.pem), HOSTS),
    "root appended instead of given": (given(LEAF, SUB, ROOT, root=None), HOSTS),
    "root appended and given": (given(LEAF, SUB, ROOT), HOSTS),
    "no intermediate": (given(ROOT.sign(HOST, sans=HOSTS)), HOSTS),
    "self-signed": (given(make(HOST, sans=HOSTS), root=None), HOSTS),
    "wildcard": (server(sans=("*.asia.example.com",)), HOSTS),
    "capitals": (server(sans=(HOST.upper(),)), HOSTS),
    "address and load balancer": (
        server(sans=(HOST, "lb.example.com", "192.0.2.7")),
        (HOST, "lb.example.com", "192.0.2.7"),
    ),
    "IPv6": (server(sans=("2001:db8::7",)), ("2001:db8:0::7",)),
    "RSA": (given(ROOT.sign(HOST, sans=HOSTS, private=rsa_key(3072))), HOSTS),
    "no extended usage at all": (server(uses=()), HOSTS),
    "any extended usage": (server(uses=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), HOSTS),
    "renewed beside the expired one": (given(LEAF, again(SUB, days=(-60, -1)), SUB), HOSTS),
    "a root that ends within the window": (given(LEAF, SUB, root=ROOT.again(ca=True, days=(-9, 9))), HOSTS),
    "one day outside of the window": (server(days=(-300, 31)), HOSTS),
    "in the order of the old openssl format": (
        replace(RIGHT, key=LEAF.key_as(NoEncryption(), PrivateFormat.TraditionalOpenSSL)),
        HOSTS,
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_clients_accept_is_accepted(case: str) -> None:
    certificate, hosts = ACCEPTED[case]
    assert server_mistakes(certificate, hosts) == []


DAMAGED = "found a damaged certificate, number 1 ("
ADD = "which is missing: add it as tls.intermediates, or as tls.ca if clients trust it"
REFUSED: dict[str, tuple[Given, tuple[str, str]]] = {
    # The texts.
    "certificate: no PEM": (replace(RIGHT, certificate="hello"), ("certificate", "found 'hello', which is no PEM")),
    "certificate: a key": (replace(RIGHT, certificate=LEAF.key), ("certificate", "found a private key")),
    "certificate: with its key": (
        replace(RIGHT, certificate=LEAF.pem + LEAF.key),
        ("certificate", "found a private key"),
    ),
    "certificate: cut off": (replace(RIGHT, certificate=LEAF.pem[:300]), ("certificate", "which is no PEM")),
    "certificate: damaged key usage": (damaged(ExtensionOID.KEY_USAGE), ("certificate", DAMAGED)),
    "certificate: damaged SAN": (damaged(ExtensionOID.SUBJECT_ALTERNATIVE_NAME), ("certificate", DAMAGED)),
    "intermediates: no PEM": (replace(RIGHT, intermediates="x"), ("intermediates", "which is no PEM")),
    "ca: no PEM": (replace(RIGHT, ca="x"), ("ca", "which is no PEM")),
    # The key.
    "key: another's": (replace(RIGHT, key=SUB.key), ("key", "found the key of another certificate")),
    "key: encrypted": (
        replace(RIGHT, key=LEAF.key_as(BestAvailableEncryption(b"pass"))),
        ("key", "found an encrypted key"),
    ),
    "key: encrypted, old format": (
        replace(RIGHT, key=LEAF.key_as(BestAvailableEncryption(b"pass"), PrivateFormat.TraditionalOpenSSL)),
        ("key", "found an encrypted key"),
    ),
    "key: no PEM": (replace(RIGHT, key="hunter2"), ("key", "found no PEM")),
    "key: the certificate": (replace(RIGHT, key=LEAF.pem), ("key", "found a certificate")),
    "key: the public one": (replace(RIGHT, key=LEAF.public), ("key", "found a public key")),
    "key: cut off": (replace(RIGHT, key=LEAF.key[:90]), ("key", "damaged")),
    "key: too short": (given(ROOT.sign(HOST, sans=HOSTS, private=rsa_key(1024))), ("certificate", "RSA of 1024 bits")),
    # The server's certificate.
    "expired": (server(days=(-60, -1)), ("certificate", "which expired on")),
    "not yet valid": (server(days=(2, 200)), ("certificate", "which is not valid before")),
    "within the window": (server(days=(-300, 29)), ("certificate", "within renewDays (30): give a renewed one")),
    "no SAN": (server(sans=()), ("certificate", f"found no subject alternative name, which does not cover {HOST}")),
    "another SAN": (server(sans=("cache.example.com",)), ("certificate", f"does not cover {HOST}")),
    "a wildcard too high": (server(sans=("*.example.com",)), ("certificate", f"does not cover {HOST}")),
    "a wildcard too deep": (server(sans=(f"*.{HOST}",)), ("certificate", f"does not cover {HOST}")),
    "a CA first": (given(SUB, LEAF), ("certificate", "the first certificate is a CA, CN=Sub: put the server's")),
    # The chain.
    "intermediate missing": (given(LEAF), ("certificate", f"found CN={HOST}, which is signed by CN=Sub, {ADD}")),
    "intermediate missing, no root given": (given(LEAF, root=None), ("certificate", f"is signed by CN=Sub, {ADD}")),
    "root missing": (given(LEAF, SUB, root=None), ("certificate", f"found CN=Sub, which is signed by CN=Root, {ADD}")),
    "intermediate of somebody else": (
        given(LEAF, OTHER.sign("Elsewhere", ca=True)),
        ("certificate", f"found CN={HOST}, which is signed by CN=Sub, {ADD}"),
    ),
    "intermediate with another key": (
        given(LEAF, ROOT.sign("Sub", ca=True)),
        ("certificate", "found CN=Sub with another key than the one that signed"),
    ),
    "an expired intermediate": (given(LEAF, again(SUB, days=(-60, -1))), ("certificate", "found CA CN=Sub, which exp")),
    "an intermediate that ends soon": (given(LEAF, again(SUB, days=(-60, 9))), ("certificate", "within renewDays")),
    "another root": (given(LEAF, SUB, root=OTHER), ("certificate", f"found CN=Sub, which is signed by CN=Root, {ADD}")),
    "another root, and the right one appended": (
        given(LEAF, SUB, ROOT, root=OTHER),
        ("ca", "found CN=Other root, which did not sign CN=Root"),
    ),
    "a root of the name with another key": (
        given(LEAF, SUB, root=make("Root", ca=True)),
        ("ca", "found CN=Root with another key than the one that signed CN=Sub"),
    ),
    "a leaf as root": (given(LEAF, SUB, root=ROOT.again()), ("ca", "found CN=Root, which does not verify")),
    "an expired root": (
        given(LEAF, SUB, root=ROOT.again(ca=True, days=(-9, -1))),
        ("ca", "found CA CN=Root, which exp"),
    ),
    "two roots": (replace(RIGHT, ca=ROOT.pem + OTHER.pem), ("ca", "found more than one certificate")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_clients_would_refuse_is_refused_by_name(case: str) -> None:
    certificate, (key, words) = REFUSED[case]
    found = server_mistakes(certificate, HOSTS)
    assert any(at == key and words in problem for at, problem in found), found


@pytest.mark.parametrize("host", ["192.0.2.7", "192.0.2.8", "2001:db8::7"])
def test_an_address_is_covered_by_an_address_and_by_no_name(host: str) -> None:
    named = make("x", sans=("192.0.2.9", "*.0.2.7", "cache"))
    ((_, problem),) = server_mistakes(given(named, root=None), [host])
    assert problem == f"found *.0.2.7, cache, 192.0.2.9, which does not cover {host}"


@pytest.mark.parametrize("hash_", ["SHA1", "MD5"])
@pytest.mark.parametrize("kind", ["CA:TRUE", "CA:FALSE"])
def test_broken_hashes_are_refused_in_a_servers_certificate_and_in_an_intermediate(kind: str, hash_: str) -> None:
    root = make("RSA root", ca=True, private=rsa_key(2048))
    extensions = f"basicConstraints={kind}\nsubjectAltName=DNS:{HOST}"
    old = by_openssl("Old", f"-{hash_.lower()}", signer=root, extensions=extensions)
    chain = given(old.sign(HOST, sans=HOSTS), old, root=root) if kind == "CA:TRUE" else given(old, root=root)
    words = f"found CN=Old, signed with {hash_}, which clients refuse, expected SHA-256 or stronger"
    assert server_mistakes(chain, HOSTS) == [("certificate", words)]


def test_a_reversed_chain_is_told_by_one_line() -> None:
    reversed_chain = given(ROOT, SUB, LEAF)
    assert [key for key, _ in server_mistakes(replace(reversed_chain, key=LEAF.key), HOSTS)] == ["certificate"]


def test_all_mistakes_are_told_at_once() -> None:
    wrong = replace(server(days=(-60, -1), sans=()), key=OTHER.key)
    assert [key for key, _ in server_mistakes(wrong, HOSTS)] == ["certificate", "key", "certificate"]


@pytest.mark.parametrize("case", [case for case in REFUSED if case.startswith("key: ")])
def test_no_word_of_a_key_is_shown(case: str) -> None:
    certificate, _ = REFUSED[case]
    shown = str(server_mistakes(certificate, HOSTS))
    assert "hunter2" not in shown
    assert not [line for line in (certificate.key or "").splitlines() if line and "-----" not in line and line in shown]


def ca(made: Made, *above: Made, **more: Any) -> Given:
    return given(made, *above, root=None, **more)


REFUSED_CA: dict[str, tuple[Given, tuple[str, str]]] = {
    "a leaf": (ca(make("Leaf")), ("certificate", "found CN=Leaf, which may sign no certificates")),
    "may not sign": (ca(make("Ca", ca=True, signs=False)), ("certificate", "which may sign no certificates")),
    "another's key": (ca(ROOT, key=OTHER.key), ("key", "found the key of another certificate")),
    "encrypted key": (ca(ROOT, key=ROOT.key_as(BestAvailableEncryption(b"pass"))), ("key", "found an encrypted key")),
    "expired": (ca(make("Ca", ca=True, days=(-9, -1))), ("certificate", "found CA CN=Ca, which expired on")),
    "not yet valid": (ca(make("Ca", ca=True, days=(1.5, 90))), ("certificate", "which is not valid before")),
    "ends within the window": (ca(make("Ca", ca=True, days=(-9, 9))), ("certificate", "within renewDays (30)")),
    "leads to no root": (ca(SUB), ("certificate", "is signed by CN=Root, which is missing: append it")),
    "deeper than allowed": (ca(SECOND, SUB, ROOT), ("certificate", "found CN=Sub, which does not verify")),
    "for other names": (
        ca(make("Ca", ca=True, more=((x509.NameConstraints([x509.DNSName("example.org")], None), True),))),
        ("certificate", f"found CN=Ca, which does not verify for {HOST}: no permitted name constraints"),
    ),
    "two certificates, the second of another": (ca(SUB, OTHER), ("certificate", "is signed by CN=Root, which is miss")),
}


@pytest.mark.parametrize("case", REFUSED_CA)
def test_a_ca_that_could_sign_nothing_of_use_is_refused_by_name(case: str) -> None:
    certificate, (key, words) = REFUSED_CA[case]
    found = ca_mistakes(certificate, HOSTS)
    assert any(at == key and words in problem for at, problem in found), found


@pytest.mark.parametrize("right", [ca(ROOT), ca(SUB, ROOT), ca(make("Rsa", ca=True, private=rsa_key(2048)))])
def test_a_ca_with_all_above_it_is_accepted(right: Given) -> None:
    assert ca_mistakes(right, HOSTS) == []


@pytest.mark.parametrize(
    ("certificate", "sent", "root"),
    [
        (RIGHT, [LEAF, SUB], ROOT),
        (given(LEAF, intermediates=SUB.pem), [LEAF, SUB], ROOT),
        (given(LEAF, SUB, ROOT, root=None), [LEAF, SUB], ROOT),
        (given(ROOT, root=None), [ROOT], ROOT),
    ],
)
def test_a_server_sends_all_but_the_root(certificate: Given, sent: list[Made], root: Made) -> None:
    chain = chain_of(certificate)
    assert list(chain.sent) == [made.certificate for made in sent]
    assert chain.root == root.certificate


def test_a_chain_ends_with_the_first_of_its_certificates() -> None:
    short = again(SUB, days=(-1, 50))
    assert chain_of(given(LEAF, short)).ends == short.certificate.not_valid_after_utc


def test_a_root_that_this_machine_trusts_need_not_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store.pem"
    store.write_text(OTHER.pem + ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    certificate = given(LEAF, SUB, root=None)
    assert server_mistakes(certificate, HOSTS) == []
    assert chain_of(certificate).root == ROOT.certificate


def test_a_given_root_is_the_only_one_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store.pem"
    store.write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    ((_, problem),) = server_mistakes(given(LEAF, SUB, root=OTHER), HOSTS)
    assert problem.startswith("found CN=Sub, which is signed by CN=Root, which is missing")


def test_a_key_that_the_library_does_not_know_is_refused_and_not_shown() -> None:
    text = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHdvcmRz\n-----END PRIVATE KEY-----\n"
    found = server_mistakes(replace(RIGHT, key=text), HOSTS)
    assert found == [("key", "found a private key that is damaged or of an unknown kind")]
