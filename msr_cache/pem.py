"""What an operator's PEM text really is: told before anything is built on it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def first_certificate(pem: str) -> x509.Certificate:
    """Return the one certificate in `pem`; ValueError says why there is none."""
    if "PRIVATE KEY" in pem:
        message = "found a private key, allowed is the PEM text of a CA certificate"
        raise ValueError(message)
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        start = pem.strip()[:40].splitlines()[0] if pem.strip() else "nothing"
        message = f"found {start!r}, which is no PEM; allowed is a certificate between BEGIN and END CERTIFICATE lines"
        raise ValueError(message) from None
    if len(certificates) != 1:
        # One right certificate beside another CA's is how a man in the middle stays.
        message = f"found {len(certificates)} certificates, allowed is exactly one: MSR's CA"
        raise ValueError(message)
    return certificates[0]


def ca_problem(pem: str) -> str | None:
    """Say why `pem` is no CA certificate that can be trusted now, or None."""
    try:
        certificate = first_certificate(pem)
    except ValueError as error:
        return str(error)
    subject = certificate.subject.rfc4514_string()
    now = datetime.now(UTC)
    if not _may_sign(certificate):
        return f"found the certificate of {subject}, which is no CA; allowed is the certificate that signs MSR's"
    if certificate.not_valid_after_utc < now:
        return (
            f"found CA {subject}, which expired on {certificate.not_valid_after_utc:%Y-%m-%d}; allowed is a valid one"
        )
    if certificate.not_valid_before_utc > now:
        return f"found CA {subject}, which is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return None


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        # X.509 v1 roots carry no extensions at all; what a self-issued one may do is then its holder's word.
        return certificate.version is x509.Version.v1 and certificate.issuer == certificate.subject


def sha256(certificate: x509.Certificate) -> str:
    """The certificate's fingerprint: SHA-256 of its DER form, in lower-case hexadecimal digits."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def sha256_of(pem: str) -> str:
    """The fingerprint of the certificate in `pem`."""
    return sha256(first_certificate(pem))
