"""Checks a certificate, key and chain that an operator gives, and names each problem before anything changes.

cryptography's verifier gives the verdict, as lenient as Go's crypto/x509: docker's client and the registry are in Go.
What is here finds the chain, and names the culprit and its config key.
"""

import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from msr_cache.foreign import shown
from msr_cache.x509 import pem
from msr_cache.x509.pem import Given

Mistake = tuple[str, str]
"""The config key (certificate, intermediates, ca, key), and the problem with its value."""
Link = tuple[str, x509.Certificate]
"""A certificate and its config key."""
_Extension = x509.Extension[x509.ExtensionType]
_BROKEN = (MD5, SHA1)
_DEEPEST = 100
"""CAs in a chain: Go gives up after so many signatures."""


@dataclass(frozen=True)
class Chain:
    """What a server sends (its certificate, then intermediates), and the root that its clients trust."""

    sent: tuple[x509.Certificate, ...]
    root: x509.Certificate

    @property
    def ends(self) -> datetime:
        """When the first of its certificates expires."""
        return min(certificate.not_valid_after_utc for certificate in (*self.sent, self.root))


def server_mistakes(given: Given, hosts: Sequence[str]) -> list[Mistake]:
    """Return why clients would not trust the servers `hosts` with this certificate."""
    if unreadable := list(_unreadable(given)):
        return [*unreadable, *_key_mistakes(given.key)]
    path, root = _path(given)
    leaf = path[0][1]
    uncovered = [("certificate", problem) for problem in _uncovered(leaf, hosts)]
    if pem.may_sign(leaf) and pem.extension(leaf, x509.SubjectAlternativeName) is None:
        problem = f"the first certificate is a CA, {pem.name(leaf)}: put the server's certificate first"
        return [("certificate", problem)]
    found = [*uncovered, *_key_mistakes(given.key, leaf.public_key()), *_weaknesses(path, root, given.window)]
    if root is None:
        return [*found, _missing(given, path, "add it as tls.intermediates, or as tls.ca if clients trust it")]
    return found or list(_refusals(path, hosts))


def ca_mistakes(given: Given, hosts: Sequence[str]) -> list[Mistake]:
    """Return why clients would not trust what the stack signs with this CA for the servers `hosts`."""
    if unreadable := list(_unreadable(given)):
        return [*unreadable, *_key_mistakes(given.key)]
    path, root = _path(given)
    ca = path[0][1]
    found = [*_key_mistakes(given.key, ca.public_key()), *_weaknesses(path, root, given.window)]
    if not pem.may_sign(ca):
        problem = f"found {pem.name(ca)}, which may sign no certificates, expected a CA (CA:TRUE, keyCertSign)"
        found.append(("certificate", problem))
    if root is None:
        return [*found, _missing(given, path, "append it to localCa.certificate, and all above it up to the root")]
    return found or list(_refusals([("certificate", _sample(ca, given.key or "", hosts)), *path], hosts))


def chain_of(given: Given) -> Chain:
    """Return the chain of what has no mistakes."""
    path, root = _path(given)
    assert root is not None  # noqa: S101 - else `server_mistakes` would have reported it
    return Chain(tuple(link for _, link in path if link == path[0][1] or link != root), root)


def matches_key(certificate: str, public_key: str) -> bool:
    """Whether the first certificate is for the public key, both PEM."""
    return pem.certificates(certificate)[0].public_key() == load_pem_public_key(public_key.encode())


def _unreadable(given: Given) -> Iterator[Mistake]:
    for key in ("certificate", "intermediates", "ca"):
        if (text := getattr(given, key)) is not None:
            try:
                found = pem.certificates(text)
            except ValueError as error:
                yield key, str(error)
            else:
                if key == "ca" and len(found) > 1:
                    yield key, "found more than one certificate, expected the root that clients trust"


def _key_mistakes(key: str | None, public: PublicKeyTypes | None = None) -> Iterator[Mistake]:
    """Yield why a text is no private key, or not the one of `public`, without showing any of it."""
    if key is None:
        return
    if "PRIVATE KEY-----" not in key:
        kinds = {"CERTIFICATE-----": "a certificate", "PUBLIC KEY-----": "a public key"}
        found = next((kind for mark, kind in kinds.items() if mark in key), "no PEM")
        yield "key", f"found {found}, expected a private key in PEM"
        return
    try:
        found_public = load_pem_private_key(key.encode(), None).public_key()
    except TypeError:
        yield "key", "found an encrypted key, which the registry can't read, expected one decrypted with `openssl pkey`"
    except Exception:  # noqa: BLE001 - the library's text may quote the key
        yield "key", "found a private key that is damaged or of an unknown kind"
    else:
        if public not in (None, found_public):
            yield "key", "found the key of another certificate, expected the one that belongs to `certificate`"


def _uncovered(leaf: x509.Certificate, hosts: Iterable[str]) -> Iterator[str]:
    """Apply RFC 6125: a wildcard stands for the whole first label; the common name is ignored."""
    names = pem.extension(leaf, x509.SubjectAlternativeName)
    dns, addresses = _dns_names(leaf), names.get_values_for_type(x509.IPAddress) if names else []
    for host in hosts:
        if address := pem.address(host):
            covered = address in addresses
        else:
            covered = bool({host.lower(), f"*.{host.lower().partition('.')[2]}"} & set(dns))
        if not covered:
            found = shown(", ".join([*dns, *map(str, addresses)])) or "no subject alternative name"
            yield f"found {found}, which does not cover {host}"


def _dns_names(leaf: x509.Certificate) -> list[str]:
    names = pem.extension(leaf, x509.SubjectAlternativeName)
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)] if names else []


def _weaknesses(path: Sequence[Link], root: x509.Certificate | None, window: int) -> Iterator[Mistake]:
    """Yield what is wrong with a certificate by itself; nobody checks the signature of a root."""
    for key, certificate in path:
        soon = datetime.now(UTC) + timedelta(days=0 if key == "ca" else window)
        found, ends = f"found {pem.name(certificate)}", certificate.not_valid_after_utc
        if problem := pem.life_problem(certificate):
            yield key, problem
        elif ends < soon:
            advice = "give a renewed one, or set a smaller renewDays"
            yield key, f"{found}, which expires on {ends:%Y-%m-%d}, within renewDays ({window}): {advice}"
        if certificate != root and isinstance(certificate.signature_hash_algorithm, _BROKEN):
            used = certificate.signature_hash_algorithm.name.upper()
            yield key, f"{found}, signed with {used}, which clients refuse, expected SHA-256 or stronger"
        if problem := pem.key_problem(certificate):
            yield key, problem


def _path(given: Given) -> tuple[list[Link], x509.Certificate | None]:
    """Return the certificate and its issuers, in order, as far as they are known; and the root if they lead to one."""
    links = [
        (key, certificate)
        for key, text in (("certificate", given.certificate), ("intermediates", given.intermediates))
        if text is not None
        for certificate in pem.certificates(text)
    ]
    trusted = [("ca", certificate) for certificate in pem.certificates(given.ca)] if given.ca is not None else []
    path = links[:1]
    while not _ends(last := path[-1][1], trusted):
        known = [link for link in (*trusted, *links) if link not in path and _signed(last, link[1])]
        known.sort(key=lambda link: pem.life_problem(link[1]) is not None)  # a CA may be there twice: old and renewed
        if not known and not trusted and (root := _system_root(last)):
            known = [("certificate", root)]
        if not known:
            return path, None
        path.append(known[0])
    return path, path[-1][1]


def _ends(last: x509.Certificate, trusted: Sequence[Link]) -> bool:
    """Whether `last` is the root of trust: the given one, or without one the certificate that signed itself."""
    return any(last == root for _, root in trusted) if trusted else _signed(last, last)


def _system_root(last: x509.Certificate) -> x509.Certificate | None:
    """Return the root that this machine trusts and that signed `last`, if there is one."""
    name = last.issuer.public_bytes()
    # Parse only those with that name: some trusted certificates break RFC 5280, and fail to parse.
    trusted = [der for der in ssl.create_default_context().get_ca_certs(binary_form=True) if name in der]
    return next((root for root in map(x509.load_der_x509_certificate, trusted) if _signed(last, root)), None)


def _signed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    if child.issuer != parent.subject:
        return False
    if isinstance(child.signature_hash_algorithm, _BROKEN):
        return True  # the library can't verify it; `_weaknesses` reports it
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _missing(given: Given, path: Sequence[Link], advice: str) -> Mistake:
    """Return which certificate a chain lacks: the one that signed its last."""
    key, last = path[-1]
    texts = {"ca": given.ca, "intermediates": given.intermediates, "certificate": given.certificate}
    for at, text in texts.items():
        for certificate in pem.certificates(text) if text is not None else []:
            if certificate.subject == last.issuer and certificate != last:
                return at, f"found {pem.name(certificate)} with another key than the one that signed {pem.name(last)}"
    if given.ca is not None and last.issuer == last.subject:
        return "ca", f"found {pem.name(pem.certificates(given.ca)[0])}, which did not sign {pem.name(last)}"
    return key, f"found {pem.name(last)}, which is signed by {pem.written(last.issuer)}, which is missing: {advice}"


def _for_servers(_: object, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and not allowed & set(usage):
        raise ValueError("it is not for servers, expected extended key usage serverAuth, or none")


def _for_signing(_: object, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("it may sign no certificates, expected key usage keyCertSign")


def _for_names(_: object, certificate: x509.Certificate, limits: x509.NameConstraints | None) -> None:
    trees = [*(limits.permitted_subtrees or []), *(limits.excluded_subtrees or [])] if limits else []
    critical = certificate.extensions.get_extension_for_class(x509.NameConstraints).critical if trees else False
    if critical and not all(isinstance(tree, _CONSTRAINED) for tree in trees):
        raise ValueError("critical name constraints of a kind that clients don't know")


_CONSTRAINED = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
_EITHER, _NOT_CRITICAL = Criticality.AGNOSTIC, Criticality.NON_CRITICAL
_ANY = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.ExtendedKeyUsage, _EITHER, _for_servers)
    .may_be_present(x509.CertificatePolicies, _EITHER, None)
    .may_be_present(x509.CRLDistributionPoints, _EITHER, None)
    .may_be_present(x509.AuthorityInformationAccess, _NOT_CRITICAL, None)
    .may_be_present(x509.AuthorityKeyIdentifier, _NOT_CRITICAL, None)
    .may_be_present(x509.SubjectKeyIdentifier, _NOT_CRITICAL, None)
    .require_not_present(x509.PolicyConstraints)
)
_SERVER = _ANY.require_present(x509.SubjectAlternativeName, _EITHER, None)
_CA = (
    _ANY.require_present(x509.BasicConstraints, _EITHER, None)
    .may_be_present(x509.KeyUsage, _EITHER, _for_signing)
    .may_be_present(x509.NameConstraints, _EITHER, _for_names)
)
"""What Go asks for, each version of it; by default the verifier asks for what the CA/Browser Forum asks of public CAs.

Go refuses critical policy constraints before 1.24, and all that no policy meets since.
"""


def _refusals(path: Sequence[Link], hosts: Iterable[str]) -> Iterator[Mistake]:
    """Yield the first certificate of a whole chain that the verifier refuses as the end of what leads to it."""
    for host in hosts:
        for end, (key, certificate) in enumerate(path, start=1):
            if certificate.version is x509.Version.v1 and end == len(path):
                continue  # the verifier knows none; it has no extensions, and all else about it is known to be right
            if problem := _refusal([link for _, link in path[:end]], host):
                yield key, f"found {pem.name(certificate)}, which does not verify for {host}: {problem}"
                return


def _refusal(chain: Sequence[x509.Certificate], host: str) -> str | None:
    """Return why the verifier refuses `chain`, with its last certificate as the root of trust; None if it does not."""
    try:
        chain = _readable(chain)
        verifier = (
            PolicyBuilder()
            .store(Store([chain[-1]]))
            .extension_policies(ca_policy=_CA, ee_policy=_SERVER)
            .max_chain_depth(_DEEPEST)
            .build_server_verifier(_general(host))
        )
        verifier.verify(chain[0], list(chain[1:-1]))
    except (VerificationError, ValueError) as error:
        noise = r"validation failed: |candidates exhausted: |Python extension validator failed: ValueError: | \(enc.*"
        return shown(re.sub(noise, "", str(error), flags=re.DOTALL))
    return None


def _readable(chain: Sequence[x509.Certificate]) -> Sequence[x509.Certificate]:
    """Return the chain, or a copy with name constraints that the verifier can read: it takes no `.example.com`.

    The copy has other keys, so its signatures prove nothing: `_path` has checked those of the chain.
    """
    extensions = [[_without_dots(each, chain[0]) for each in certificate.extensions] for certificate in chain]
    if extensions == [list(certificate.extensions) for certificate in chain]:
        return chain
    keys = [generate_private_key(SECP256R1()) for _ in chain]
    return [
        x509.CertificateBuilder(extensions=plain)
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(certificate.not_valid_after_utc)
        .sign(signer, SHA256())
        for certificate, plain, key, signer in zip(chain, extensions, keys, [*keys[1:], keys[-1]], strict=True)
    ]


def _without_dots(given: _Extension, leaf: x509.Certificate) -> _Extension:
    """Return name constraints with each `.example.com`, or empty one, as those names of the leaf that it covers."""
    if not isinstance(limits := given.value, x509.NameConstraints):
        return given
    dns = _dns_names(leaf)

    def plain(tree: x509.GeneralName) -> list[x509.GeneralName]:
        if not (isinstance(tree, x509.DNSName) and re.fullmatch(r"(\.[^.]+)*", tree.value)):
            return [tree]
        covered = [name.removeprefix("*.") for name in dns if name.endswith(tree.value.lower())]
        return [x509.DNSName(name) for name in covered or ["invalid"]]

    trees = [
        [each for tree in some or [] for each in plain(tree)] or None
        for some in (limits.permitted_subtrees, limits.excluded_subtrees)
    ]
    return x509.Extension(given.oid, given.critical, x509.NameConstraints(*trees))


def _sample(ca: x509.Certificate, key: str, hosts: Iterable[str]) -> x509.Certificate:
    """Return a server's certificate as this CA signs it for `hosts`."""
    now = datetime.now(UTC)
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(ca.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(map(_general, hosts)), critical=False)
    )
    return unsigned.sign(cast("CertificateIssuerPrivateKeyTypes", load_pem_private_key(key.encode(), None)), SHA256())


def _general(host: str) -> x509.DNSName | x509.IPAddress:
    address = pem.address(host)
    return x509.IPAddress(address) if address else x509.DNSName(host)
