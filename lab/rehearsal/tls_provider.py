"""pulumi-tls's keys, requests and certificates over `cryptography`; a certificate that is due is replaced."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lab.rehearsal.errors import StepError
from lab.rehearsal.provider import Diff, Failures, Provider, refuse_unknown
from lab.rehearsal.values import UNKNOWN, Props

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    _Key = RSAPrivateKey | EllipticCurvePrivateKey

_SAN = {"dnsNames": None, "ipAddresses": None, "uris": None}
_REQUEST = {"privateKeyPem": None, "subject": None, **_SAN}
_CERTIFICATE = {
    "allowedUses": None,
    "validityPeriodHours": None,
    "earlyRenewalHours": 0,
    "isCaCertificate": False,
    "maxPathLength": None,
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

    def check(self, name: str, _olds: Props, news: Props) -> tuple[Props, Failures]:
        where = f"{self.type} {name}"
        refuse_unknown(where, news, self.fields)
        refuse_unknown(f"{where}.allowedUses", dict.fromkeys(_list(news, "allowedUses")), _USES | _EXTENDED_USES)
        if isinstance(news.get("subject"), dict):
            refuse_unknown(f"{where}.subject", news["subject"], _SUBJECT)
        return news, []

    def diff(self, _id: str, outs: Props, news: Props) -> Diff:
        changed = [key for key, default in self.fields.items() if outs.get(key) != news.get(key, default)]
        anew = {key for key in changed if key != "earlyRenewalHours"} | (
            {"readyForRenewal"} if _is_due(outs, news) else set()
        )
        kinds = {key: "update-replace" if key in anew else "update" for key in {*changed, *anew}}
        return Diff(bool(kinds), sorted(anew), detail=kinds)

    def update(self, _id: str, outs: Props, news: Props) -> Props:
        return outs | news

    def planned(self, outs: Props, news: Props) -> Props:
        """Return the inputs with their defaults; what an update in place keeps is known, too."""
        return outs | {key: value for key, value in {**self.fields, **news}.items() if value is not None}

    def _outputs(self, news: Props, **computed: Any) -> Props:  # noqa: ANN401 - JSON
        return self.planned({}, news) | computed


class PrivateKey(_Tls):
    """An RSA or ECDSA key."""

    def _generate(self, news: Props) -> _Key:
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        if news["algorithm"] == "RSA":
            return rsa.generate_private_key(65537, news.get("rsaBits", self.fields["rsaBits"]))
        curves = {"P256": ec.SECP256R1, "P384": ec.SECP384R1}
        curve = news.get("ecdsaCurve", self.fields["ecdsaCurve"])
        if news["algorithm"] != "ECDSA" or curve not in curves:
            what = f"algorithm {news['algorithm']}, curve {curve}"
            raise StepError(f"{self.type}: {what}: not implemented by the rehearsal engine")
        return ec.generate_private_key(curves[curve]())

    def create(self, news: Props) -> tuple[str, Props]:
        from cryptography.hazmat.primitives import serialization as forms

        key = self._generate(news)
        form = forms.PrivateFormat
        private = {
            "privateKeyPem": form.TraditionalOpenSSL,
            "privateKeyPemPkcs8": form.PKCS8,
            "privateKeyOpenssh": form.OpenSSH,
        }
        texts = {
            name: key.private_bytes(forms.Encoding.PEM, kind, forms.NoEncryption()).decode()
            for name, kind in private.items()
        }
        public = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo).decode()
        id_ = hashlib.sha1(public.strip().encode(), usedforsecurity=False).hexdigest()
        return id_, self._outputs(news, id=id_, publicKeyPem=public, **texts)


class CertRequest(_Tls):
    """A request to sign a certificate."""

    def create(self, news: Props) -> tuple[str, Props]:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization as forms

        key = _key(news["privateKeyPem"])
        builder = x509.CertificateSigningRequestBuilder().subject_name(_name(news.get("subject")))
        if names := _names(news):
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        request = builder.sign(key, _hash(key))
        id_ = hashlib.sha1(request.public_bytes(forms.Encoding.DER), usedforsecurity=False).hexdigest()
        text = request.public_bytes(forms.Encoding.PEM).decode()
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
        from cryptography import x509

        request = x509.load_pem_x509_csr(news["certRequestPem"].encode())
        ca = x509.load_pem_x509_certificate(news["caCertPem"].encode())
        key = _key(news["caPrivateKeyPem"])
        try:
            names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = []
        signed = _signed(news, request.subject, names, request.public_key(), ca.subject, key, ca)
        return signed["id"], self._outputs(news, caKeyAlgorithm=_algorithm(key), **signed)


def _list(news: Props, key: str) -> list[Any]:
    found = news.get(key)
    return [item for item in found if item != UNKNOWN] if isinstance(found, list) else []


def _is_due(outs: Props, news: Props) -> bool:
    if "validityEndTime" not in outs:
        return False
    early = timedelta(hours=news.get("earlyRenewalHours") or 0)
    return datetime.now(UTC) >= datetime.fromisoformat(outs["validityEndTime"]) - early


def _key(pem: str) -> _Key:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise StepError("keys other than RSA and ECDSA are not implemented by the rehearsal engine")
    return key


def _algorithm(key: _Key) -> str:
    return "ECDSA" if hasattr(key, "curve") else "RSA"


def _hash(key: _Key) -> hashes.SHA256 | hashes.SHA384:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA384() if _algorithm(key) == "ECDSA" and key.key_size > 256 else hashes.SHA256()  # noqa: PLR2004 - bits


def _name(subject: Mapping[str, str] | None) -> x509.Name:
    from cryptography.x509 import Name, NameAttribute, NameOID

    parts = subject or {}
    return Name([NameAttribute(getattr(NameOID, oid), parts[key]) for key, oid in _SUBJECT.items() if key in parts])


def _names(news: Props) -> list[x509.GeneralName]:
    from cryptography import x509

    dns = [x509.DNSName(text) for text in news.get("dnsNames") or []]
    ips = [x509.IPAddress(ipaddress.ip_address(text)) for text in news.get("ipAddresses") or []]
    return [*dns, *ips, *(x509.UniformResourceIdentifier(text) for text in news.get("uris") or [])]


def _signed(  # noqa: PLR0913, PLR0917 - what a certificate is made of
    news: Props,
    subject: x509.Name,
    names: list[x509.GeneralName],
    public: Any,  # noqa: ANN401 - cryptography's union of key types
    issuer: x509.Name,
    key: _Key,
    ca: x509.Certificate | None,
) -> Props:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID

    start = datetime.now(UTC)
    end = start + timedelta(hours=news["validityPeriodHours"])
    serial = secrets.randbits(127) or 1
    builder = x509.CertificateBuilder(
        issuer, subject, public, serial, start.replace(tzinfo=None), end.replace(tzinfo=None)
    )
    is_ca = bool(news.get("isCaCertificate"))
    builder = builder.add_extension(
        x509.BasicConstraints(is_ca, news.get("maxPathLength") if is_ca else None), critical=True
    )
    uses = {_USES[use] for use in news["allowedUses"] if use in _USES}
    usage = {name: name in uses for name in (*_USES.values(), *_OTHER_USAGES)}
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if extended := [_EXTENDED_USES[use] for use in news["allowedUses"] if use in _EXTENDED_USES]:
        oids = [getattr(ExtendedKeyUsageOID, name) for name in extended]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if is_ca or news.get("setSubjectKeyId"):
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    if ca is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(identifier, critical=False)
    certificate = builder.sign(key, _hash(key))
    return {
        "id": str(serial),
        "certPem": certificate.public_bytes(Encoding.PEM).decode(),
        "readyForRenewal": False,
        "validityStartTime": start.isoformat().replace("+00:00", "Z"),
        "validityEndTime": end.isoformat().replace("+00:00", "Z"),
    }


def provider_of(type_: str, _config: Mapping[str, Any]) -> Provider | None:
    """Return the provider of a type of the package."""
    local = {"certRequestPem": None, "caPrivateKeyPem": None, "caCertPem": None}
    kinds: dict[str, tuple[type[_Tls], dict[str, Any]]] = {
        "tls:index/privateKey:PrivateKey": (PrivateKey, {"algorithm": None, "rsaBits": 2048, "ecdsaCurve": "P224"}),
        "tls:index/certRequest:CertRequest": (CertRequest, _REQUEST),
        "tls:index/selfSignedCert:SelfSignedCert": (SelfSignedCert, _REQUEST | _CERTIFICATE),
        "tls:index/locallySignedCert:LocallySignedCert": (LocallySignedCert, local | _CERTIFICATE),
    }
    if type_ not in kinds:
        return None
    kind, fields = kinds[type_]
    return kind(type_, fields)
