"""Checks a certificate, key and chain that an operator gives, and names each problem before anything changes.

Not with cryptography's x509.verification: it refuses chains that clients accept, such as one without an authority key
identifier, and reports one problem without the key path that it stems from.
"""

import ipaddress
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from msr_cache.x509 import pem

Mistake = tuple[str, str]
"""The config key (certificate, intermediates, ca, key), and the problem with its value."""
_BROKEN = (hashes.MD5, hashes.SHA1)
_SMALLEST_RSA = 2048
"""Bits (CA/Browser Forum Baseline Requirements, 6.1.5)."""


@dataclass(frozen=True)
class Given:
    """PEM texts from the config; `certificate` may have its intermediates appended.

    A certificate that expires within `window` days is refused.
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
        """When the first of its certificates expires."""
        return min(certificate.not_valid_after_utc for certificate in (*self.sent, self.root))


def server_mistakes(given: Given, hosts: Sequence[str]) -> list[Mistake]:
    """Return why clients would not trust the servers `hosts` with this certificate."""
    return _mistakes(given, lambda leaf: [*_unfit_for_servers(leaf), *_uncovered(leaf, hosts)])


def ca_mistakes(given: Given) -> list[Mistake]:
    """Return why the stack can't sign certificates with this CA."""
    return _mistakes(given, _unfit_for_signing)


def chain_of(given: Given) -> Chain:
    """Return the chain of what has no mistakes."""
    links = [link for _, link in _links(given)]
    root = _root(links[-1], given.ca)
    assert root is not None  # noqa: S101 - else `_mistakes` would have reported it
    return Chain(tuple(link for link in links if link is links[0] or link != root), root)


def matches_key(certificate: str, public_key: str) -> bool:
    """Whether the first certificate is for the public key, both PEM."""
    return pem.certificates(certificate)[0].public_key() == load_pem_public_key(public_key.encode())


def _mistakes(given: Given, first_problems: Callable[[x509.Certificate], Iterable[str]]) -> list[Mistake]:
    if unreadable := list(_unreadable(given)):
        return [*unreadable, *_key_mistakes(given.key)]
    links = _links(given)
    first = links[0][1]
    found = [("certificate", problem) for problem in first_problems(first)]
    found += _key_mistakes(given.key, first.public_key())
    found += [(key, problem) for key, link in links for problem in _weaknesses(link, given.window)]
    return found + (list(_breaks(links)) or list(_root_mistakes(links, given)))


def _unreadable(given: Given) -> Iterator[Mistake]:
    for key in ("certificate", "intermediates", "ca"):
        if (text := getattr(given, key)) is not None:
            try:
                pem.certificates(text)
            except ValueError as error:
                yield key, str(error)


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


def _unfit_for_servers(leaf: x509.Certificate) -> Iterator[str]:
    if pem.may_sign(leaf):
        yield f"found CA {pem.name(leaf)}, expected a server's certificate first and intermediates after it"
    usage = pem.extension(leaf, x509.ExtendedKeyUsage)
    for_servers = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if usage and not any(oid in usage for oid in for_servers):
        yield f"found {pem.name(leaf)}, which is not for servers, expected extended key usage serverAuth"
    use = pem.extension(leaf, x509.KeyUsage)
    if use and not use.digital_signature:
        yield f"found {pem.name(leaf)}, which may not sign TLS handshakes, expected key usage digitalSignature"


def _unfit_for_signing(ca: x509.Certificate) -> Iterator[str]:
    if not pem.may_sign(ca):
        yield f"found {pem.name(ca)}, which may sign no certificates, expected a CA (CA:TRUE, keyCertSign)"


def _uncovered(leaf: x509.Certificate, hosts: Iterable[str]) -> Iterator[str]:
    """Apply RFC 6125: a wildcard stands for the whole first label; the common name is ignored."""
    names = pem.extension(leaf, x509.SubjectAlternativeName)
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


def _weaknesses(certificate: x509.Certificate, window: int) -> Iterator[str]:
    found = f"found {pem.name(certificate)}"
    if problem := pem.life_problem(certificate):
        yield problem
    elif certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=window):
        yield (
            f"{found}, which expires on {certificate.not_valid_after_utc:%Y-%m-%d}, within renewDays ({window}): "
            "give a renewed one, or set a smaller renewDays"
        )
    if isinstance(certificate.signature_hash_algorithm, _BROKEN):
        used = certificate.signature_hash_algorithm.name.upper()
        yield f"{found}, signed with {used}, which clients refuse, expected SHA-256 or stronger"
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        yield f"{found} with RSA of {key.key_size} bits, expected {_SMALLEST_RSA} or more"


def _breaks(links: Sequence[tuple[str, x509.Certificate]]) -> Iterator[Mistake]:
    """Yield where the next certificate of a chain did not sign the one before."""
    for below, ((_, child), (key, parent)) in enumerate(pairwise(links), start=int(pem.may_sign(links[0][1]))):
        found = f"found {pem.name(parent)}"
        limit = getattr(pem.extension(parent, x509.BasicConstraints), "path_length", None)
        if child.issuer != parent.subject:
            misplaced = any(child.issuer == link.subject for _, link in links)
            hint = "which is elsewhere: put each after the one that it signs" if misplaced else "which is missing"
            yield key, f"{found} after {pem.name(child)}, which is signed by {child.issuer.rfc4514_string()}, {hint}"
        elif not pem.may_sign(parent):
            yield key, f"{found}, which is no CA, as the signer of {pem.name(child)}"
        elif not _signed(child, parent):
            yield key, f"{found} with another key than the one that signed {pem.name(child)}"
        elif limit is not None and below > limit:
            yield key, f"{found}, which allows {limit} CAs below it, not {below}"


def _root_mistakes(links: Sequence[tuple[str, x509.Certificate]], given: Given) -> Iterator[Mistake]:
    """Yield why a chain leads to no root."""
    key, last = links[-1]
    if given.ca is not None:
        ca, *others = pem.certificates(given.ca)
        if others:
            yield "ca", "found more than one certificate, expected the root that clients trust"
        elif last != ca and not (last.issuer == ca.subject and _signed(last, ca)):
            yield "ca", f"found {pem.name(ca)}, which did not sign {pem.name(last)}"
        elif last != ca and not pem.may_sign(ca):
            yield "ca", f"found {pem.name(ca)}, which is no CA"
        elif problem := pem.life_problem(ca):
            yield "ca", problem
    elif _root(last, None) is None:
        problem = f"found no certificate of {last.issuer.rfc4514_string()}, which signed {pem.name(last)}"
        yield key, f"{problem}: complete the chain, or give the root that clients trust as `ca`"


def _links(given: Given) -> list[tuple[str, x509.Certificate]]:
    """Return the given chain, each certificate with its config key."""
    return [
        (key, certificate)
        for key, text in (("certificate", given.certificate), ("intermediates", given.intermediates))
        if text is not None
        for certificate in pem.certificates(text)
    ]


def _root(last: x509.Certificate, ca: str | None) -> x509.Certificate | None:
    """Return the root of a chain: the given one, the last certificate itself, or one that this machine trusts."""
    if ca is not None:
        return pem.certificates(ca)[0]
    if last.issuer == last.subject:
        return last if _signed(last, last) else None
    name = last.issuer.public_bytes()
    # Parse only those with that name: some trusted certificates break RFC 5280, and fail to parse.
    trusted = [der for der in ssl.create_default_context().get_ca_certs(binary_form=True) if name in der]
    return next((root for root in map(x509.load_der_x509_certificate, trusted) if _signed(last, root)), None)


def _signed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    if isinstance(child.signature_hash_algorithm, _BROKEN):
        return True  # the library can't verify it; `_weaknesses` reports it
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
