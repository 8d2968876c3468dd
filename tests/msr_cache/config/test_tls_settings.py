"""What a stack's config may say of certificates: by source, each mistake at its key, and no key in the open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from msr_cache.refusal import Refusal
from tests.certificates import HOST, make
from tests.msr_cache.conftest import mistakes, settings_with

ROOT = make("Root", ca=True)
LEAF = ROOT.sign(HOST, sans=(HOST, "lb.example.com"))
PROVIDED = {"source": "provided", "certificate": LEAF.pem, "ca": ROOT.pem, "key": LEAF.key}
SIGNED = {"source": "csr", "certificate": LEAF.pem, "ca": ROOT.pem}
LOCAL_CA = {"certificate": ROOT.pem, "key": ROOT.key}
AT = "msr-cache:caches.asia.tls"
APART = {"port": 8443, "label": "eu.cache"}

pytestmark = pytest.mark.usefixtures("secret_config")


RIGHT: list[dict[str, Any]] = [
    {".tls": {"source": "selfSigned", "keyType": "ecdsaP384", "sans": ["lb.example.com", "192.0.2.7", "2001:db8::7"]}},
    {".tls": {"source": "localCa", "keyType": "rsa2048", "validityDays": 3650}},
    {".tls": {"source": "localCa"}, "localCa": LOCAL_CA},
    {".tls": PROVIDED},
    {".tls": PROVIDED | {"sans": ["lb.example.com"]}},
    {".tls": {"source": "csr"}},
    {".tls": SIGNED},
]


@pytest.mark.parametrize("changes", RIGHT)
def test_each_source_is_accepted_with_what_it_needs(changes: dict[str, Any]) -> None:
    assert settings_with(changes).caches["asia"].tls.source == changes[".tls"]["source"]


NO_PEM = "no certificate, intermediates, ca or key"
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another source": ({".tls.source": "acme"}, f"{AT}.source: found 'acme', expected 'selfSigned', 'localCa', "),
    "another key type": ({".tls.keyType": "rsa1024"}, f"{AT}.keyType: found 'rsa1024', expected 'rsa2048', "),
    "provided without key": (
        {".tls": SIGNED | {"source": "provided"}},
        f"{AT}: found no key, which source provided needs",
    ),
    "provided without anything": (
        {".tls": {"source": "provided"}},
        f"{AT}: found no certificate and no key, which source provided needs",
    ),
    "provided with a key type": (
        {".tls": PROVIDED | {"keyType": "rsa2048"}},
        f"{AT}: found keyType, expected only ca, certificate, intermediates, key with source provided",
    ),
    "self-signed with a certificate": (
        {".tls": {"certificate": LEAF.pem}},
        f"{AT}: found certificate, expected {NO_PEM} with source selfSigned",
    ),
    "localCa with a CA of the cache's own": (
        {".tls": {"source": "localCa", "ca": ROOT.pem}},
        f"{AT}: found ca, expected {NO_PEM} with source localCa",
    ),
    "a CSR's certificate with a key": (
        {".tls": PROVIDED | {"source": "csr"}},
        f"{AT}: found key, expected only ca, certificate, intermediates with source csr",
    ),
    "a CSR's root without certificate": (
        {".tls": {"source": "csr", "ca": ROOT.pem}},
        f"{AT}: found no certificate, which source csr needs",
    ),
    "a file that is not there": (
        {".tls": PROVIDED | {"certificate": "certs/none.pem"}},
        f"{AT}.certificate: found neither PEM text nor a file that can be read (No such file or directory)",
    ),
    "localCa without key": ({"localCa": {"certificate": ROOT.pem}}, "msr-cache:localCa.key: missing"),
    "localCa with another's key": (
        {"localCa": LOCAL_CA | {"key": LEAF.key}},
        "msr-cache:localCa.key: found the key of another certificate",
    ),
    "a certificate that does not cover a SAN": (
        {".tls": PROVIDED | {"sans": ["192.0.2.7"]}},
        f"{AT}.certificate: found {HOST}, lb.example.com, which does not cover 192.0.2.7",
    ),
    "no day of validity": ({".tls.validityDays": 0, ".tls.renewDays": 0}, f"{AT}.validityDays: found 0, expected "),
    "more than ten years": ({".tls.validityDays": 3651}, f"{AT}.validityDays: found 3651, expected "),
    "a negative window": ({".tls.renewDays": -1}, f"{AT}.renewDays: found -1, expected "),
    "a window as long as the validity": (
        {".tls.validityDays": 30},
        f"{AT}: found renewDays 30, expected less than validityDays (30)",
    ),
    "a window that is longer": (
        {".tls": {"validityDays": 20, "renewDays": 365}},
        f"{AT}: found renewDays 365, expected less than validityDays (20)",
    ),
    "a signed certificate within a larger window": (
        {".tls": SIGNED | {"validityDays": 400, "renewDays": 399}},
        f"{AT}.certificate: found CN={HOST}, which expires on ",
    ),
    "a CA that ends within the window of what it signs": (
        {
            ".tls": {"source": "localCa", "validityDays": 400, "renewDays": 399},
            "caches.europe": {"fqdn": "eu.example.com", "nodes": ["worker-8"], "tls": {"source": "localCa"}, **APART},
            "localCa": LOCAL_CA,
        },
        "msr-cache:localCa.certificate: found CN=Root, which expires on ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_told_at_its_key(case: str) -> None:
    changes, start = WRONG[case]
    found = mistakes(changes)
    assert found[0].startswith(start), found


@pytest.mark.parametrize(
    "text", ["hunter2 is a password", LEAF.key[30:], ""], ids=["a password", "a key without its head", "nothing"]
)
def test_what_stands_in_a_keys_place_is_never_shown(text: str) -> None:
    (line,) = mistakes({".tls": PROVIDED | {"key": text}})
    assert line.startswith(f"{AT}.key: found neither PEM text nor a file that can be read")
    assert "hunter2" not in line
    assert not [part for part in LEAF.key.splitlines()[1:-1] if part in line]


def test_files_are_read(tmp_path: Path) -> None:
    for name, text in {"certificate": f"# für den Cache\n{LEAF.pem}", "ca": ROOT.pem, "key": LEAF.key}.items():
        (tmp_path / name).write_text(text)
    files = {name: str(tmp_path / name) for name in ("certificate", "ca", "key")}
    assert settings_with({".tls": PROVIDED | files}).caches["asia"].tls.key == LEAF.key


def test_a_der_file_is_told_from_pem(tmp_path: Path) -> None:
    file = tmp_path / "cache.der"
    file.write_bytes(LEAF.certificate.public_bytes(Encoding.DER))
    (line,) = mistakes({".tls": PROVIDED | {"certificate": str(file)}})
    assert line.startswith(
        f"{AT}.certificate: found a file that is not PEM text, expected one with a BEGIN line; convert a DER file with"
    )


def test_a_preview_shows_no_key_and_nothing_that_nobody_set() -> None:
    fields = {index: settings_with(changes).caches["asia"].tls.preview_fields() for index, changes in enumerate(RIGHT)}
    made = {"source": "selfSigned", "keyType": "rsa4096", "validityDays": 365, "renewDays": 30}
    assert settings_with().caches["asia"].tls.preview_fields() == made
    assert fields[3]["source"] == "provided"
    assert not [shown for shown in fields.values() if "key" in shown or "-----BEGIN" in str(shown)]


def test_a_csr_that_waits_is_a_warning() -> None:
    (warning,) = settings_with({".tls": {"source": "csr"}}).warnings()
    assert warning.startswith(f"{AT}: the cache runs on a self-signed certificate of the same key, until")
    assert list(settings_with({".tls": SIGNED}).warnings()) == []


def test_a_pipe_in_the_place_of_a_certificate_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cert.pem")
    for path in (str(tmp_path / "cert.pem"), "/dev/zero"):
        with pytest.raises(Refusal, match=r"a file that can be read \(not a regular file\)"):
            settings_with({".tls": {"source": "provided", "certificate": path, "key": path}})
