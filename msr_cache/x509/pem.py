"""Reads certificates from PEM text, and explains why one can't be used."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, TypeVar

from msr_cache.foreign import shown

# cryptography is imported in the functions: a run that reads no certificate saves the time.
if TYPE_CHECKING:
    from cryptography import x509

    _Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_KEYS = "RSA of 2048 to 8192 bits, P-256, P-384 or P-521, or for a server Ed25519"
_END = "-----END CERTIFICATE-----"


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


def certificates(pem: str) -> list[x509.Certificate]:
    """Return the certificates in `pem`, at least one, all readable; raise ValueError with the reason otherwise."""
    from cryptography import x509

    if "PRIVATE KEY" in pem:
        raise ValueError("found a private key, expected a certificate in PEM")
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion):
        start = shown(pem.strip().partition("\n")[0], longest=40) or "nothing"
        raise ValueError(
            f"found '{start}', which is no PEM, expected a certificate between BEGIN and END CERTIFICATE lines"
        ) from None
    for number, certificate in enumerate(found, start=1):
        if problem := _damage(certificate):
            raise ValueError(f"found a damaged certificate, number {number} ({shown(problem)}): have it issued again")
    return found


def _damage(certificate: x509.Certificate) -> str | None:
    """Return what is wrong with a part of a certificate, which the library reads when it is asked for it."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        _ = certificate.extensions, certificate.signature_hash_algorithm, certificate.public_key()
        name(certificate), written(certificate.issuer)
    except (
        ValueError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        return str(error)
    return None


def ca_problem(pem: str, *, of_hop: bool = False) -> str | None:
    """Return why `pem` is not text of CA certificates that can be trusted now, or None.

    `of_hop`: a self-signed server certificate is its own CA, as Go has it.
    """
    try:
        found = certificates(pem)
    except ValueError as error:
        return str(error)
    for certificate in found:
        if not may_sign(certificate) and not (of_hop and certificate.issuer == certificate.subject):
            expected = "a CA's, or one that is self-signed" if of_hop else "that of MSR's CA"
            return f"found the certificate of {name(certificate)}, which is no CA, expected {expected}"
        if problem := life_problem(certificate) or key_problem(certificate):
            return problem
    return None


def life_problem(certificate: x509.Certificate) -> str | None:
    """Return why a certificate is not valid now, or None."""
    now = datetime.now(UTC)
    found = f"found {'CA ' if may_sign(certificate) else ''}{name(certificate)}"
    if certificate.not_valid_after_utc < now:
        return f"{found}, which expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        start, clock = (f"{each:%Y-%m-%d %H:%M} UTC" for each in (certificate.not_valid_before_utc, now))
        return f"{found}, which is not valid before {start}; this machine's clock says {clock}: set it if it is behind"
    return None


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether a certificate is that of a CA (RFC 5280, 4.2.1.9 and 4.2.1.3)."""
    from cryptography import x509

    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None:
        # An X.509 v1 root has no extensions that could say what it may do.
        return certificate.version == x509.Version.v1 and certificate.issuer == certificate.subject
    usage = extension(certificate, x509.KeyUsage)
    return constraints.ca and (usage is None or usage.key_cert_sign)


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Return a certificate's extension, or None."""
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def key_problem(certificate: x509.Certificate) -> str | None:
    """Return why some clients refuse a certificate's key, or None.

    Go takes no other curves and no RSA above 8192 bits; OpenSSL, on Debian and others, no RSA below 2048 bits.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    match key := certificate.public_key():
        case RSAPublicKey():
            right, kind = 2048 <= key.key_size <= 8192, f"RSA of {key.key_size} bits"  # noqa: PLR2004 - see above
        case EllipticCurvePublicKey():
            right, kind = key.curve.name in ("secp256r1", "secp384r1", "secp521r1"), key.curve.name
        case _:
            # Of a CA, our verifier knows none.
            right = isinstance(key, Ed25519PublicKey) and not may_sign(certificate)
            kind = type(key).__name__.removesuffix("PublicKey")
    if right:
        return None
    return f"found {name(certificate)}, whose key some clients refuse ({kind}), expected {_KEYS}"


def name(certificate: x509.Certificate) -> str:
    """The certificate's subject, as an operator may read it."""
    return written(certificate.subject) or "a certificate without subject"


def address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that `host` is; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def written(subject: x509.Name) -> str:
    """A subject or issuer as RFC 4514 writes it."""
    return shown(subject.rfc4514_string())


def text(*chain: x509.Certificate) -> str:
    """PEM text of certificates, in their order."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)


def sha256(certificate: x509.Certificate) -> str:
    """The certificate's fingerprint: SHA-256 of its DER form, in lower-case hexadecimal digits."""
    from cryptography.hazmat.primitives.hashes import SHA256

    return certificate.fingerprint(SHA256()).hex()


def key_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo), which a renewed certificate may keep, as kubeadm writes it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def sha256_of(pem: str) -> str:
    """The fingerprint of the first certificate in `pem`, which begins with it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.partition(_END)[0] + _END)).hexdigest()
