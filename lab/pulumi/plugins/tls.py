"""A stand-in for pulumi-tls's plugin: keys, requests and certificates; a certificate that is due is replaced."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.pulumi.plugins.provider import Diff, Provider, StepError, refuse_unknown
from lab.pulumi.plugins.server import serve
from lab.pulumi.plugins.values import Props
from lab.pulumi.protocol import UNKNOWN

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_CURVES = {"P256": ec.SECP256R1(), "P384": ec.SECP384R1()}
_REQUEST = {"privateKeyPem": None, "subject": None, "dnsNames": None, "ipAddresses": None}
_CERTIFICATE = {
    "allowedUses": None,
    "validityPeriodHours": None,
    "earlyRenewalHours": 0,
    "isCaCertificate": False,
    "setSubjectKeyId": False,
}
_USES = {
    "digital_signature": "digital_signature",
    "key_encipherment": "key_encipherment",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
}
_OTHER_USAGES = ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
_EXTENDED_USES = {"server_auth": ExtendedKeyUsageOID.SERVER_AUTH}
_SUBJECT = {"organization": NameOID.ORGANIZATION_NAME, "commonName": NameOID.COMMON_NAME}
_FORMS = {
    "privateKeyPem": PrivateFormat.TraditionalOpenSSL,
    "privateKeyPemPkcs8": PrivateFormat.PKCS8,
    "privateKeyOpenssh": PrivateFormat.OpenSSH,
}


@dataclass
class _Tls(Provider):
    """A type, its inputs with their defaults, and what makes its outputs of these.

    All inputs but earlyRenewalHours mean a new object when they change.
    """

    type: str
    fields: Mapping[str, Any]
    made: Callable[[Props], Props]

    def check(self, name: str, news: Props) -> Props:
        where = f"{self.type} {name}"
        refuse_unknown(where, news, self.fields)
        for key, known in (("allowedUses", {*_USES, *_EXTENDED_USES}), ("subject", set(_SUBJECT))):
            if (found := news.get(key, UNKNOWN)) != UNKNOWN:
                refuse_unknown(f"{where}.{key}", dict.fromkeys(item for item in found if item != UNKNOWN), known)
        return news

    def diff(self, outs: Props, news: Props) -> Diff:
        changed = {key for key, default in self.fields.items() if outs.get(key) != news.get(key, default)}
        anew = changed - {"earlyRenewalHours"}
        if ends := outs.get("validityEndTime"):
            early = timedelta(hours=news.get("earlyRenewalHours") or 0)
            anew |= {"readyForRenewal"} if datetime.now(UTC) >= datetime.fromisoformat(ends) - early else set()
        return Diff(bool(changed | anew), sorted(anew))

    def create(self, news: Props) -> tuple[str, Props]:
        # Any number will do, as long as nothing else has it.
        id_ = str(x509.random_serial_number())
        return id_, self.planned({}, news) | {"id": id_} | self.made({**self.fields, **news})

    def update(self, _id: str, outs: Props, news: Props) -> Props:
        return outs | news

    def planned(self, outs: Props, news: Props) -> Props:
        """Return the inputs with their defaults; what an update in place keeps is known, too."""
        return outs | {key: value for key, value in {**self.fields, **news}.items() if value is not None}


def _private_key(inputs: Props) -> Props:
    algorithm, curve = inputs["algorithm"], inputs["ecdsaCurve"]
    if algorithm == "RSA":
        key: _Key = rsa.generate_private_key(65537, inputs["rsaBits"])
    elif algorithm == "ECDSA" and curve in _CURVES:
        key = ec.generate_private_key(_CURVES[curve])
    else:
        raise StepError(f"the lab's stand-in for this plugin does not know {algorithm} keys on {curve}")
    texts = {name: key.private_bytes(Encoding.PEM, form, NoEncryption()).decode() for name, form in _FORMS.items()}
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return texts | {"publicKeyPem": public}


def _request(inputs: Props) -> x509.CertificateSigningRequest:
    subject = inputs["subject"] or {}
    parts = [x509.NameAttribute(oid, subject[key]) for key, oid in _SUBJECT.items() if key in subject]
    dns = [x509.DNSName(text) for text in inputs["dnsNames"] or []]
    ips = [x509.IPAddress(ipaddress.ip_address(text)) for text in inputs["ipAddresses"] or []]
    builder = x509.CertificateSigningRequestBuilder(x509.Name(parts))
    if names := [*dns, *ips]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(_key(inputs["privateKeyPem"]), hashes.SHA256())


def _cert_request(inputs: Props) -> Props:
    return {"certRequestPem": _request(inputs).public_bytes(Encoding.PEM).decode()}


def _self_signed(inputs: Props) -> Props:
    return _signed(inputs, _request(inputs), inputs["privateKeyPem"], None)


def _locally_signed(inputs: Props) -> Props:
    request = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
    ca = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    return _signed(inputs, request, inputs["caPrivateKeyPem"], ca)


def _key(pem: str) -> _Key:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, _Key):
        raise StepError("the lab's stand-in for this plugin knows RSA and ECDSA keys only")
    return key


def _signed(inputs: Props, request: x509.CertificateSigningRequest, key_pem: str, ca: x509.Certificate | None) -> Props:
    """Sign a request with a key, which is the request's own if there is no `ca`."""
    start = datetime.now(UTC)
    end = start + timedelta(hours=inputs["validityPeriodHours"])
    is_ca, public = inputs["isCaCertificate"], request.public_key()
    uses = {_USES[use] for use in inputs["allowedUses"] if use in _USES}
    extended = [_EXTENDED_USES[use] for use in inputs["allowedUses"] if use not in _USES]
    usage = x509.KeyUsage(**{name: name in uses for name in (*_USES.values(), *_OTHER_USAGES)})
    builder = (
        x509.CertificateBuilder(
            (ca or request).subject, request.subject, public, x509.random_serial_number(), start, end
        )
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(usage, critical=True)
    )
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    if is_ca or inputs["setSubjectKeyId"]:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    if ca:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(issuer, critical=False)
    certificate = builder.sign(_key(key_pem), hashes.SHA256())
    return {
        "certPem": certificate.public_bytes(Encoding.PEM).decode(),
        "readyForRenewal": False,
        "validityStartTime": start.isoformat().replace("+00:00", "Z"),
        "validityEndTime": end.isoformat().replace("+00:00", "Z"),
    }


_LOCAL = {"certRequestPem": None, "caPrivateKeyPem": None, "caCertPem": None}
_KEY = {"algorithm": None, "rsaBits": 2048, "ecdsaCurve": "P224"}
_TYPES = [
    _Tls("tls:index/privateKey:PrivateKey", _KEY, _private_key),
    _Tls("tls:index/certRequest:CertRequest", _REQUEST, _cert_request),
    _Tls("tls:index/selfSignedCert:SelfSignedCert", _REQUEST | _CERTIFICATE, _self_signed),
    _Tls("tls:index/locallySignedCert:LocallySignedCert", _LOCAL | _CERTIFICATE, _locally_signed),
]


def _connect(name: str, news: Props) -> Props:
    refuse_unknown(f"tls provider {name}", news, {"version"})
    return news


def _find(type_: str, _config: Props) -> Provider | None:
    return next((provider for provider in _TYPES if provider.type == type_), None)


if __name__ == "__main__":
    serve("pulumi-tls", "5.6.2", _connect, _find)
