"""Certificates of each source and key type serve real clients, are moved between and renewed by `up` alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from lab.site import Site
from tests.certificates import Made, make, rsa_key
from tests.end_to_end.conftest import lifetime
from tests.end_to_end.howto import commands, follow, typed
from tests.end_to_end.renewal import age, connecting, the_gap
from tests.end_to_end.stack import CACHE, FQDN, KEY, PORT, Stack, key_pieces
from tests.end_to_end.swarm import Swarm

pytestmark = [pytest.mark.swarm, pytest.mark.engine, pytest.mark.long]

KEYS: dict[str, tuple[str, Callable[[], Any]]] = {
    "rsa2048": ("Public-Key: (2048 bit)", lambda: rsa_key(2048)),
    "rsa3072": ("Public-Key: (3072 bit)", lambda: rsa_key(3072)),
    "rsa4096": ("Public-Key: (4096 bit)", lambda: rsa_key(4096)),
    "ecdsaP256": ("NIST CURVE: P-256", lambda: ec.generate_private_key(ec.SECP256R1())),
    "ecdsaP384": ("NIST CURVE: P-384", lambda: ec.generate_private_key(ec.SECP384R1())),
}
STATIONS = ["selfSigned", "localCa", "provided", "csr", "csr, signed"]
assert len(KEYS) == len(STATIONS)
WAITING = {"tls": {**KEY, "source": "csr"}}
BALANCER = "lb.example.com"
ROOT = make("Company root", ca=True)
SUB = ROOT.sign("Company CA", ca=True, path_length=0)


def openssl(*words: str | Path, stdin: str = "") -> str:
    answer = subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


class Walk:
    """A stack with one cache for each key type, each of them at another station."""

    def __init__(self, stack: Stack, files: Path) -> None:
        self.stack = stack
        self.files = files
        self.given: list[Made] = []
        self.requests: dict[str, Path] = {}
        for name, made in {"root": ROOT, "sub": SUB}.items():
            (files / f"{name}.pem").write_text(made.pem)
            (files / f"{name}.key").write_text(made.key)

    def fqdn(self, number: int) -> str:
        return f"{list(KEYS)[number].lower()}.example.com"

    def to(self, *steps: int, own_ca: bool = False, key_files: bool = False) -> None:
        """Move each cache so many stations from where it began, deploy, and see that each is served as it should."""
        first = self.stack.config()["caches"][CACHE]
        caches: dict[str, Any] = {}
        encrypted: list[str] = []
        for number, key_type in enumerate(KEYS):
            source, _, signed = STATIONS[(steps[number] + number) % len(STATIONS)].partition(", ")
            name = key_type.lower()
            tls: dict[str, Any] = {"source": source, "sans": [BALANCER], "keyType": key_type}
            if source == "provided":
                made = self.provided(number)
                tls = {"source": source, "sans": [BALANCER], "certificate": made.pem + SUB.pem, "ca": ROOT.pem}
                (self.files / f"{name}.key").write_text(made.key)
                if key_files:
                    tls["key"] = str(self.files / f"{name}.key")
                else:
                    encrypted.append(name)
            if signed and name in self.requests:
                certificate = self.sign(name)
                tls |= {"certificate": certificate, "intermediates": SUB.pem, "ca": ROOT.pem}
            mine = {"fqdn": self.fqdn(number), "port": PORT + number, "label": f"dtr.cache.{name}", "tls": tls}
            caches[name] = first | mine
        self.stack.configure(caches=caches)
        if own_ca:
            lines = commands("docs/certificates.md", "When clients must trust something new")
            lines += commands("docs/certificates.md", "Use one CA for all caches")
            here = {name: f"{self.files}/{name}" for name in ("ca.pem", "ca.key.pem")}
            typed(self.stack, lines, here)
        for name in encrypted:
            here = {"asia": name, "cache.key.pem": f"{self.files}/{name}.key"}
            typed(self.stack, commands("docs/certificates.md", "Certificates"), here)
        self.deploy()

    def sign(self, name: str) -> str:
        """Do what a company's CA does with the stack's output."""
        ca = (
            "-CA",
            self.files / "sub.pem",
            "-CAkey",
            self.files / "sub.key",
            "-copy_extensions",
            "copy",
            "-days",
            "99",
        )
        return openssl("x509", "-req", "-in", self.requests[name], *ca)

    def provided(self, number: int) -> Made:
        _, new_key = list(KEYS.values())[number]
        self.given.append(SUB.sign(self.fqdn(number), sans=(self.fqdn(number), BALANCER), private=new_key()))
        return self.given[-1]

    def deploy(self) -> None:
        self.stack.deploy()
        outputs = self.stack.outputs()
        for number, (key_type, (kind, _)) in enumerate(KEYS.items()):
            name = key_type.lower()
            told = outputs["caches"][name]
            served = self.verified(told["certificatePem"], number)
            assert kind in openssl("x509", "-noout", "-text", stdin=served)
            assert self.stack.pull_as(outputs, name).blobs
            if "certificateRequestPem" in told:
                save = commands("docs/certificates.md", "Use a certificate from your company's CA")
                typed(self.stack, save, {"asia": name})
                self.requests[name] = self.stack.folder / f"{name}.csr"

    def verified(self, trust: str, number: int) -> str:
        """Return what openssl was served, having verified it for both names with `trust` alone."""
        file = self.files / "trust.pem"
        file.write_text(trust)
        only = ("-CAfile", file, "-no-CApath", "-no-CAstore", "-verify_return_error")
        address = f"{self.stack.site.engine.address}:{PORT + number}"
        for host in (BALANCER, self.fqdn(number)):
            shown = openssl("s_client", "-connect", address, "-servername", host, "-verify_hostname", host, *only)
            assert "Verify return code: 0 (ok)" in shown
        return shown


def test_each_source_and_each_key_type_serves_and_is_moved_to_and_from_without_a_trace(
    stack: Stack, tmp_path: Path
) -> None:
    """By `openssl s_client` and a pull, each trusting `certificatePem` alone."""
    files = tmp_path / "files"
    files.mkdir()
    walk = Walk(stack, files)
    for step in range(3):  # until each station was left for the next one
        walk.to(*[step] * len(KEYS))
    stack.note_secrets()
    # All go back, but for the one that should have begun as signed and had no request then.
    walk.to(*[1] * (len(KEYS) - 1), len(STATIONS), own_ca=True, key_files=True)
    stack.must(stack.preview(refresh=True, expect_no_changes=True))
    stack.given |= key_pieces("".join(made.key for made in (*walk.given, ROOT, SUB)))
    assert len(stack.given) > len(KEYS) * 2


@pytest.fixture(scope="module")
def waiting(site: Site, tmp_path_factory: pytest.TempPathFactory, plugins: str) -> Iterator[Stack]:
    """Give a cache that runs on a self-signed certificate until its CSR is signed."""
    for stack in lifetime(Stack(tmp_path_factory.mktemp("waiting") / "stack", site, plugins)):
        stack.configure(WAITING)
        assert "runs on a self-signed certificate" in stack.deploy().words
        yield stack


def test_a_wrong_certificate_is_refused_by_name_before_any_change(waiting: Stack, swarm: Swarm, tmp_path: Path) -> None:
    stack = waiting
    before, task = swarm.listing(), swarm.task_ids(f"{CACHE}_cache")
    right, stranger = SUB.sign(FQDN, sans=(FQDN,)), make("stranger")
    (tmp_path / "key.pem").write_text(stranger.key)
    provided = {"source": "provided", "certificate": right.pem + SUB.pem, "ca": ROOT.pem, "key": f"{tmp_path}/key.pem"}
    of_another_key = {**WAITING["tls"], "certificate": right.pem + SUB.pem, "ca": ROOT.pem}
    expired = SUB.sign("x", sans=("x",), days=(-9, -1)).pem
    refusals = [
        (of_another_key, ["tls.certificate: found the certificate of another key"]),
        (
            provided | {"certificate": expired, "ca": make("Other", ca=True).pem},
            [
                f"does not cover {FQDN}",
                "which expired on",
                "CN=x, which is signed by CN=Company CA, which is missing",
                "tls.key: found the key of another certificate",
            ],
        ),
        (provided | {"key": stranger.key}, ["found a private key in plain text"]),
    ]
    for tls, words in refusals:
        stack.configure({"tls": tls, "blobTtl": "36h"})
        run = stack.preview()
        assert not run.ok
        assert all(word in run.words for word in words), run.text
        assert "Traceback" not in run.text
        assert stranger.key.splitlines()[1] not in run.text
    stack.configure({"tls": of_another_key, "blobTtl": "36h"})
    assert not stack.up().ok
    stack.configure(WAITING)
    assert swarm.listing() == before
    assert swarm.task_ids(f"{CACHE}_cache") == task


def test_a_certificate_within_its_window_is_announced_and_renewed_while_the_old_one_serves(
    waiting: Stack, record_property: Callable[[str, object], None]
) -> None:
    stack = waiting
    old = stack.outputs()["caches"][CACHE]
    age(stack, days_left=45)
    soon = stack.must(stack.preview())
    assert "SelfSignedCert" not in soon.changed()
    assert "in 44 days: the first pulumi up within renewDays (30) of that makes a new one" in soon.words
    age(stack, days_left=29)
    shown = follow(stack, commands("docs/certificates.md", "Renew"))
    assert not shown.ok
    assert "in 28 days, which is within renewDays (30): this run makes a new one" in shown.words
    assert {"SelfSignedCert", "SwarmSecret", "Service"} <= shown.changed()
    assert "PrivateKey" not in shown.changed()
    with connecting(stack.site.engine.address) as seen:
        time.sleep(1)
        stack.deploy()
        time.sleep(1)
    new = stack.outputs()["caches"][CACHE]
    assert new["certificateSha256"] != old["certificateSha256"]
    assert new["certificateExpires"] > (datetime.now(UTC) + timedelta(days=364)).isoformat()
    assert seen[0].served == old["certificatePem"].strip()
    assert seen[-1].served == new["certificatePem"].strip()
    gap = the_gap(seen)
    assert not [one for one in seen if one.error and not gap.first < one.began < gap.last], "explained by nothing"
    record_property("gap_ms", round(gap.seconds * 1000))
    assert gap.seconds < 10
