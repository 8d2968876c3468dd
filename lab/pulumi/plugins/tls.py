"""A stand-in for pulumi-tls's plugin: keys, requests and certificates; a certificate that is due is replaced."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Mapping
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
_CURVES = {"P256": ec.SECP256R1, "P384": ec.SECP384R1}

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
_EXTENDED_USES = {"server_auth": "SERVER_AUTH", "client_auth": "CLIENT_AUTH"}
_SUBJECT = {"organization": "ORGANIZATION_NAME", "commonName": "COMMON_NAME"}


@dataclass
class _Tls(Provider):
    """A type with its inputs and their defaults; all but earlyRenewalHours mean a new object when they change."""

    type: str
    fields: Mapping[str, Any]

    def check(self, name: str, news: Props) -> Props:
        where = f"{self.type} {name}"
        refuse_unknown(where, news, self.fields)
        for key, known in (("allowedUses", {*_USES, *_EXTENDED_USES}), ("subject", set(_SUBJECT))):
            if (found := news.get(key, UNKNOWN)) != UNKNOWN:
                refuse_unknown(f"{where}.{key}", dict.fromkeys(item for item in found if item != UNKNOWN), known)
        return news

    def diff(self, outs: Props, news: Props) -> Diff:
        changed = {key for key, default in self.fields.items() if outs.get(key) != news.get(key, default)}
        anew = (changed - {"earlyRenewalHours"}) | ({"readyForRenewal"} if _is_due(outs, news) else set())
        return Diff(bool(changed | anew), sorted(anew))

    def update(self, id_: str, outs: Props, news: Props) -> Props:
        del id_
        return outs | news

    def planned(self, outs: Props, news: Props) -> Props:
        """Return the inputs with their defaults; what an update in place keeps is known, too."""
        return outs | {key: value for key, value in {**self.fields, **news}.items() if value is not None}

    def _outputs(self, news: Props, **computed: Any) -> Props:  # noqa: ANN401 - JSON
        return self.planned({}, news) | computed


class PrivateKey(_Tls):
    """An RSA or ECDSA key."""

    def create(self, news: Props) -> tuple[str, Props]:
        key = self._generate({**self.fields, **news})
        forms = {
            "privateKeyPem": PrivateFormat.TraditionalOpenSSL,
            "privateKeyPemPkcs8": PrivateFormat.PKCS8,
            "privateKeyOpenssh": PrivateFormat.OpenSSH,
        }
        texts = {name: key.private_bytes(Encoding.PEM, form, NoEncryption()).decode() for name, form in forms.items()}
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        id_ = hashlib.sha1(public.strip().encode(), usedforsecurity=False).hexdigest()
        return id_, self._outputs(news, id=id_, publicKeyPem=public, **texts)

    def _generate(self, about: Props) -> _Key:
        algorithm, curve = about["algorithm"], about["ecdsaCurve"]
        if algorithm == "RSA":
            return rsa.generate_private_key(65537, about["rsaBits"])
        if algorithm == "ECDSA" and curve in _CURVES:
            return ec.generate_private_key(_CURVES[curve]())
        raise StepError(f"{self.type}: the lab's stand-in for this plugin does not know {algorithm} keys on {curve}")


class CertRequest(_Tls):
    """A request to sign a certificate."""

    def create(self, news: Props) -> tuple[str, Props]:
        key = _key(news["privateKeyPem"])
        builder = x509.CertificateSigningRequestBuilder().subject_name(_name(news.get("subject")))
        if names := _names(news):
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        request = builder.sign(key, _hash(key))
        id_ = hashlib.sha1(request.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()
        text = request.public_bytes(Encoding.PEM).decode()
        return id_, self._outputs(news, id=id_, keyAlgorithm=_algorithm(key), certRequestPem=text)


class SelfSignedCert(_Tls):
    """A certificate signed with its own key."""

    def create(self, news: Props) -> tuple[str, Props]:
        key = _key(news["privateKeyPem"])
        subject = _name(news.get("subject"))
        signed = _signed(news, subject, _names(news), key.public_key(), subject, key, None)
        return signed["id"], self._outputs(news, keyAlgorithm=_algorithm(key), setAuthorityKeyId=False, **signed)


class LocallySignedCert(_Tls):
    """A certificate that a CA at hand signs for a request."""

    def create(self, news: Props) -> tuple[str, Props]:
        request = x509.load_pem_x509_csr(news["certRequestPem"].encode())
        ca = x509.load_pem_x509_certificate(news["caCertPem"].encode())
        key = _key(news["caPrivateKeyPem"])
        try:
            names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = []
        signed = _signed(news, request.subject, names, request.public_key(), ca.subject, key, ca)
        return signed["id"], self._outputs(news, caKeyAlgorithm=_algorithm(key), **signed)


def _is_due(outs: Props, news: Props) -> bool:
    if "validityEndTime" not in outs:
        return False
    early = timedelta(hours=news.get("earlyRenewalHours") or 0)
    return datetime.now(UTC) >= datetime.fromisoformat(outs["validityEndTime"]) - early


def _key(pem: str) -> _Key:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, _Key):
        raise StepError("the lab's stand-in for this plugin knows RSA and ECDSA keys only")
    return key


def _algorithm(key: _Key) -> str:
    return "ECDSA" if hasattr(key, "curve") else "RSA"


def _hash(key: _Key) -> hashes.SHA256 | hashes.SHA384:
    return hashes.SHA384() if _algorithm(key) == "ECDSA" and key.key_size > 256 else hashes.SHA256()  # noqa: PLR2004 - bits


def _name(subject: Mapping[str, str] | None) -> x509.Name:
    parts = subject or {}
    known = [(getattr(NameOID, oid), parts[key]) for key, oid in _SUBJECT.items() if key in parts]
    return x509.Name([x509.NameAttribute(*pair) for pair in known])


def _names(news: Props) -> list[x509.GeneralName]:
    dns = [x509.DNSName(text) for text in news.get("dnsNames") or []]
    ips = [x509.IPAddress(ipaddress.ip_address(text)) for text in news.get("ipAddresses") or []]
    return [*dns, *ips]


def _signed(  # noqa: PLR0913, PLR0917 - what a certificate is made of
    news: Props,
    subject: x509.Name,
    names: list[x509.GeneralName],
    public: Any,  # noqa: ANN401 - cryptography's union of key types
    issuer: x509.Name,
    key: _Key,
    ca: x509.Certificate | None,
) -> Props:
    start = datetime.now(UTC)
    end = start + timedelta(hours=news["validityPeriodHours"])
    serial = secrets.randbits(127) or 1
    is_ca = bool(news.get("isCaCertificate"))
    uses = {_USES[use] for use in news["allowedUses"] if use in _USES}
    extended = [getattr(ExtendedKeyUsageOID, _EXTENDED_USES[use]) for use in news["allowedUses"] if use not in _USES]
    usage = x509.KeyUsage(**{name: name in uses for name in (*_USES.values(), *_OTHER_USAGES)})
    extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(is_ca, None), True), (usage, True)]
    if extended:
        extensions.append((x509.ExtendedKeyUsage(extended), False))
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    if is_ca or news.get("setSubjectKeyId"):
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(public), False))
    if ca is not None:
        extensions.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), False))  # type: ignore[arg-type]
    dates = start.replace(tzinfo=None), end.replace(tzinfo=None)
    builder = x509.CertificateBuilder(issuer, subject, public, serial, *dates)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, _hash(key))
    return {
        "id": str(serial),
        "certPem": certificate.public_bytes(Encoding.PEM).decode(),
        "readyForRenewal": False,
        "validityStartTime": start.isoformat().replace("+00:00", "Z"),
        "validityEndTime": end.isoformat().replace("+00:00", "Z"),
    }


_LOCAL = {"certRequestPem": None, "caPrivateKeyPem": None, "caCertPem": None}
_TYPES = [
    PrivateKey("tls:index/privateKey:PrivateKey", {"algorithm": None, "rsaBits": 2048, "ecdsaCurve": "P224"}),
    CertRequest("tls:index/certRequest:CertRequest", _REQUEST),
    SelfSignedCert("tls:index/selfSignedCert:SelfSignedCert", _REQUEST | _CERTIFICATE),
    LocallySignedCert("tls:index/locallySignedCert:LocallySignedCert", _LOCAL | _CERTIFICATE),
]


def _connect(name: str, news: Props) -> Props:
    refuse_unknown(f"tls provider {name}", news, {"version"})
    return news


def _find(type_: str, _config: Props) -> Provider | None:
    return next((provider for provider in _TYPES if provider.type == type_), None)


if __name__ == "__main__":
    serve("pulumi-tls", "5.6.2", _connect, _find)
