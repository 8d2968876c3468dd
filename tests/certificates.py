"""Certificates of every kind, right and wrong, for what checks them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
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

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

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
    signs: bool | None = True,
    more: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> Made:
    """Make a certificate for `name`, self-signed without a `signer`, valid between two days counted from now.

    `signs`: key usage digitalSignature of a server's certificate, keyCertSign of a CA's; None: no key usage at all.
    `more`: further extensions, each with whether it is critical.
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
    )
    if signs is not None:
        builder = builder.add_extension(_usage(signature=signs and not ca, cert_sign=signs and ca), critical=True)
    if not ca and uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(san) for san in sans]), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    by = signer.private if signer else private
    return Made(builder.sign(by, None if isinstance(by, Ed25519PrivateKey) else hashes.SHA256()), private)


def by_openssl(name: str, *words: str, signer: Made | None = None, extensions: str = "") -> Made:
    """Make a certificate by `openssl x509`, whose words these are; without extensions it is of version 1."""
    made = make(name, private=rsa_key(2048))
    with TemporaryDirectory() as folder:
        by = signer or made
        for file, text in {"own.key": made.key, "extensions": extensions, "ca": by.pem, "ca.key": by.key}.items():
            (Path(folder) / file).write_text(text)
        request = ["openssl", "req", "-new", "-key", "own.key", "-subj", f"/CN={name}", "-out", "own.csr"]
        sign = ["openssl", "x509", "-req", "-in", "own.csr", "-days", "99", *words]
        sign += ["-CA", "ca", "-CAkey", "ca.key"] if signer else ["-signkey", "own.key"]
        for command in (request, [*sign, *(["-extfile", "extensions"] if extensions else [])]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return replace(made, certificate=x509.load_pem_x509_certificate(done.stdout.encode()))


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
