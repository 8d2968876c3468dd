"""What PEM text really is: told before anything is built on it."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

# Imported where it is used: a run that looks into no certificate saves the time.
if TYPE_CHECKING:
    from cryptography import x509

_END = "-----END CERTIFICATE-----"


def certificates(pem: str) -> list[x509.Certificate]:
    """Return the certificates in `pem`, one at least; ValueError says why there is none."""
    from cryptography import x509

    if "PRIVATE KEY" in pem:
        message = "found a private key, allowed is the PEM text of a certificate"
        raise ValueError(message)
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        start = pem.strip()[:40].splitlines()[0] if pem.strip() else "nothing"
        message = f"found {start!r}, which is no PEM; allowed is a certificate between BEGIN and END CERTIFICATE lines"
        raise ValueError(message) from None


def ca_problem(pem: str) -> str | None:
    """Say why `pem` holds what is no CA certificate that can be trusted now, or None."""
    try:
        found = certificates(pem)
    except ValueError as error:
        return str(error)
    return next((problem for certificate in found if (problem := _no_ca(certificate))), None)


def _no_ca(certificate: x509.Certificate) -> str | None:
    if not may_sign(certificate):
        return f"found the certificate of {name(certificate)}, which is no CA; allowed is the one that signs MSR's"
    return life_problem(certificate)


def life_problem(certificate: x509.Certificate) -> str | None:
    """Say why now is outside of the certificate's life, or None."""
    now = datetime.now(UTC)
    found = f"found {'CA ' if may_sign(certificate) else ''}{name(certificate)}"
    if certificate.not_valid_after_utc < now:
        return f"{found}, which expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"{found}, which is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return None


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether a certificate is one of a CA (RFC 5280, 4.2.1.9 and 4.2.1.3)."""
    from cryptography import x509

    extensions = certificate.extensions
    try:
        is_ca = bool(extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        # X.509 v1 roots carry no extensions at all; what a self-issued one may do is then its holder's word.
        return certificate.version is x509.Version.v1 and is_self_issued(certificate)
    try:
        return is_ca and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return is_ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Whether a certificate names itself as its issuer, as a root does."""
    return certificate.issuer == certificate.subject


def name(certificate: x509.Certificate) -> str:
    """The certificate's subject as RFC 4514 writes it."""
    return certificate.subject.rfc4514_string() or "a certificate without subject"


def text(*chain: x509.Certificate) -> str:
    """PEM text of certificates, in their order."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)


def sha256(certificate: x509.Certificate) -> str:
    """The certificate's fingerprint: SHA-256 of its DER form, in lower-case hexadecimal digits."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def key_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo), which a re-issued certificate keeps, as kubeadm writes it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def sha256_of(pem: str) -> str:
    """The fingerprint of the first certificate in `pem`, which begins with it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.partition(_END)[0] + _END)).hexdigest()
