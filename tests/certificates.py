"""Certificates of every kind, right and wrong, for what checks them."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "cache.asia.example.com"


@dataclass(frozen=True)
class Made:
    """A certificate with its key, which may sign others."""

    certificate: x509.Certificate
    private: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key(self) -> str:
        return self.key_as(NoEncryption())

    def key_as(self, encryption: KeySerializationEncryption, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
        return self.private.private_bytes(Encoding.PEM, form, encryption).decode()

    def sign(self, name: str, **options: Any) -> Made:
        return make(name, signer=self, **options)

    def again(self, **options: Any) -> Self:
        """The same subject and key, certified anew."""
        name = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return make(str(name), private=self.private, **options)  # type: ignore[return-value]


def make(  # noqa: PLR0913 - what can be wrong with a certificate
    name: str,
    *,
    signer: Made | None = None,
    private: CertificateIssuerPrivateKeyTypes | None = None,
    ca: bool = False,
    path_length: int | None = None,
    sans: tuple[str, ...] = (),
    days: tuple[float, float] = (-1, 365),
    uses: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH,),
    signs: bool = True,
    algorithm: hashes.HashAlgorithm | None = None,
) -> Made:
    """Make a certificate for `name`, self-signed without a `signer`, valid between two days counted from now.

    `signs`: key usage digitalSignature of a server's certificate, keyCertSign of a CA's.
    """
    private = private or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(_usage(signature=signs and not ca, cert_sign=signs and ca), critical=True)
    )
    if not ca and uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(san) for san in sans]), critical=False)
    return Made(builder.sign(signer.private if signer else private, algorithm or hashes.SHA256()), private)


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _usage(*, signature: bool, cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)
