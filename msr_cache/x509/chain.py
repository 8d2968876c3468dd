"""What is wrong with a certificate, key and chain that an operator gives: told by name before anything is changed."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from msr_cache.x509 import pem

Mistake = tuple[str, str]
"""The key it was given by (certificate, intermediates, ca, key), and what is wrong with it."""
_Check = Callable[[x509.Certificate], Iterable[str]]
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_BROKEN = (hashes.MD5, hashes.SHA1)
_SMALLEST_RSA = 2048
"""Bits (CA/Browser Forum Baseline Requirements, 6.1.5)."""


@dataclass(frozen=True)
class Given:
    """PEM texts as the operator gives them; `certificate` may have its intermediates appended.

    `window` is how many days before its end a certificate no longer counts as one to begin with.
    """

    certificate: str
    intermediates: str | None = None
    ca: str | None = None
    key: str | None = field(default=None, repr=False)
    window: int = 0


@dataclass(frozen=True)
class Chain:
    """What a server sends (its certificate, then intermediates), and the root that its clients trust."""

    sent: tuple[x509.Certificate, ...]
    root: x509.Certificate

    @property
    def ends(self) -> datetime:
        """When the first of its certificates ends."""
        return min(certificate.not_valid_after_utc for certificate in (*self.sent, self.root))


def server_mistakes(given: Given, hosts: Sequence[str]) -> list[Mistake]:
    """Say all that keeps clients of `hosts` from trusting a server with this certificate."""
    return _mistakes(given, lambda leaf: [*_server(leaf), *_uncovered(leaf, hosts)])


def ca_mistakes(given: Given) -> list[Mistake]:
    """Say all that keeps the stack from signing certificates with this CA."""
    return _mistakes(given, _signer)


def chain_of(given: Given) -> Chain:
    """Return the chain of what has no mistakes."""
    links = [link for _, link in _links(given)]
    root = _root(links[-1], given.ca)
    assert root is not None  # noqa: S101 - what `_mistakes` has told before
    return Chain(tuple(link for link in links if link is links[0] or link != root), root)


def belongs(certificate: str, public_key: str) -> bool:
    """Whether the first certificate is one of the key, both PEM."""
    return pem.certificates(certificate)[0].public_key() == load_pem_public_key(public_key.encode())


def _mistakes(given: Given, of_first: _Check) -> list[Mistake]:
    unreadable = list(_unreadable(given))
    if any(key != "key" for key, _ in unreadable):
        return unreadable
    links = _links(given)
    found = [("certificate", problem) for problem in of_first(links[0][1])]
    found += unreadable or _key(given.key, links[0][1].public_key())
    for key, link in links:
        found += [(key, problem) for problem in _weak(link, given.window)]
    broken = list(_breaks(links))
    return found + (broken or list(_top(links, given)))


def _unreadable(given: Given) -> Iterator[Mistake]:
    for key in ("certificate", "intermediates", "ca"):
        if (text := getattr(given, key)) is not None:
            try:
                pem.certificates(text)
            except ValueError as error:
                yield key, str(error)
    if given.key is not None and (problem := _key_problem(given.key)):
        yield "key", problem


def _key_problem(key: str) -> str | None:
    """Say why a text is no private key, without a word of it."""
    if "PRIVATE KEY-----" not in key:
        what = (
            "a certificate" if "CERTIFICATE-----" in key else "a public key" if "PUBLIC KEY-----" in key else "no PEM"
        )
        return f"found {what}, allowed is a private key in PEM"
    try:
        load_pem_private_key(key.encode(), None)
    except TypeError:
        return "found an encrypted key, which the registry can't read; allowed is one that `openssl pkey` has decrypted"
    except Exception:  # noqa: BLE001 - whatever the library says may quote the key
        return "found a private key that is damaged or of an unknown kind"
    return None


def _key(key: str | None, public: PublicKeyTypes) -> list[Mistake]:
    if key is None or load_pem_private_key(key.encode(), None).public_key() == public:
        return []
    return [("key", "found the key of another certificate; allowed is the one that `certificate` was made for")]


def _server(leaf: x509.Certificate) -> Iterator[str]:
    if pem.may_sign(leaf):
        yield f"found CA {pem.name(leaf)}, allowed is a server's certificate; intermediates come after it"
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    allowed = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if usage and not any(oid in usage for oid in allowed):
        yield f"found {pem.name(leaf)}, which is not for servers; allowed is extended key usage serverAuth"
    use = _extension(leaf, x509.KeyUsage)
    if use and not use.digital_signature:
        yield f"found {pem.name(leaf)}, which may not sign TLS handshakes; allowed is key usage digitalSignature"


def _signer(ca: x509.Certificate) -> Iterator[str]:
    if not pem.may_sign(ca):
        yield f"found {pem.name(ca)}, which may sign no certificates; allowed is a CA (CA:TRUE, keyCertSign)"


def _uncovered(leaf: x509.Certificate, hosts: Iterable[str]) -> Iterator[str]:
    """Apply RFC 6125: a wildcard stands for the whole first label; the common name counts for nothing."""
    names = _extension(leaf, x509.SubjectAlternativeName)
    dns = [name.lower() for name in names.get_values_for_type(x509.DNSName)] if names else []
    addresses = names.get_values_for_type(x509.IPAddress) if names else []
    for host in hosts:
        try:
            covered = ipaddress.ip_address(host) in addresses
        except ValueError:
            covered = bool({host.lower(), f"*.{host.lower().partition('.')[2]}"} & set(dns))
        if not covered:
            shown = ", ".join([*dns, *map(str, addresses)]) or "no subject alternative name"
            yield f"found {shown}, which does not cover {host}"


def _weak(certificate: x509.Certificate, window: int) -> Iterator[str]:
    if problem := pem.life_problem(certificate):
        yield problem
    elif certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=window):
        yield (
            f"found {pem.name(certificate)}, which ends on {certificate.not_valid_after_utc:%Y-%m-%d}, "
            f"within renewDays ({window}): give a renewed one, or set a smaller renewDays"
        )
    if isinstance(certificate.signature_hash_algorithm, _BROKEN):
        used = certificate.signature_hash_algorithm.name.upper()
        yield f"found {pem.name(certificate)}, signed with {used}, which clients refuse; allowed is SHA-256 or stronger"
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        yield f"found {pem.name(certificate)} with RSA of {key.key_size} bits, allowed are {_SMALLEST_RSA} or more"


def _breaks(links: Sequence[tuple[str, x509.Certificate]]) -> Iterator[Mistake]:
    """Say where one certificate of a chain is not signed by the next."""
    for below, ((_, child), (key, parent)) in enumerate(pairwise(links), start=int(pem.may_sign(links[0][1]))):
        if child.issuer != parent.subject:
            wanted = child.issuer.rfc4514_string()
            here = any(child.issuer == link.subject for _, link in links)
            hint = "which comes at another place: put each after the one that it signs" if here else "which is missing"
            yield key, f"found {pem.name(parent)} after {pem.name(child)}, which is signed by {wanted}, {hint}"
        elif not pem.may_sign(parent):
            yield key, f"found {pem.name(parent)}, which is no CA, as the signer of {pem.name(child)}"
        elif not _signed(child, parent):
            yield key, f"found {pem.name(parent)} with another key than the one that signed {pem.name(child)}"
        elif (most := _most_below(parent)) is not None and below > most:
            yield key, f"found {pem.name(parent)}, which allows {most} CAs below it, not {below}"


def _top(links: Sequence[tuple[str, x509.Certificate]], given: Given) -> Iterator[Mistake]:
    """Say why a chain leads to no root."""
    key, last = links[-1]
    if given.ca is not None:
        ca, *others = pem.certificates(given.ca)
        if others:
            yield "ca", "found more than one certificate, allowed is the root that clients trust"
        elif last != ca and not (last.issuer == ca.subject and _signed(last, ca)):
            yield "ca", f"found {pem.name(ca)}, which did not sign {pem.name(last)}"
        elif last != ca and not pem.may_sign(ca):
            yield "ca", f"found {pem.name(ca)}, which is no CA"
        elif problem := pem.life_problem(ca):
            yield "ca", problem
    elif _root(last, None) is None:
        problem = (
            f"found no certificate of {last.issuer.rfc4514_string()}, which signed {pem.name(last)}: append what is "
            "missing of the chain, or give the root that clients trust as `ca`"
        )
        yield key, problem


def _links(given: Given) -> list[tuple[str, x509.Certificate]]:
    """Return the chain as it was given, each certificate with its key."""
    return [
        (key, certificate)
        for key, text in (("certificate", given.certificate), ("intermediates", given.intermediates))
        if text is not None
        for certificate in pem.certificates(text)
    ]


def _root(last: x509.Certificate, ca: str | None) -> x509.Certificate | None:
    """Return who ends a chain: the given root, the last certificate itself, or one that this machine trusts."""
    if ca is not None:
        return pem.certificates(ca)[0]
    if pem.is_self_issued(last):
        return last if _signed(last, last) else None
    name = last.issuer.public_bytes()
    # Only those that hold the name are parsed: some that machines trust are not as RFC 5280 wants them.
    trusted = [der for der in ssl.create_default_context().get_ca_certs(binary_form=True) if name in der]
    return next((root for root in map(x509.load_der_x509_certificate, trusted) if _signed(last, root)), None)


def _signed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    if isinstance(child.signature_hash_algorithm, _BROKEN):
        return True  # `_weak` refuses it by name; the library can't tell
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _most_below(ca: x509.Certificate) -> int | None:
    constraints = _extension(ca, x509.BasicConstraints)
    return constraints.path_length if constraints else None


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
