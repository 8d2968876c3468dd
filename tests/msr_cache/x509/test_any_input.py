"""Whatever stands in a certificate's place, the answer is an error of ours on one line, and never a traceback."""

from __future__ import annotations

import base64
from dataclasses import replace

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from msr_cache.x509 import pem
from msr_cache.x509.chain import ca_mistakes, chain_of, server_mistakes
from msr_cache.x509.pem import Given
from tests.certificates import HOST, make, rsa_key

ROOT = make("Root", ca=True)
SUB = ROOT.sign("Sub", ca=True, path_length=0)
LEAF = SUB.sign(HOST, sans=(HOST, "192.0.2.7"))
CROSS = make("Cross", ca=True)
CERTIFICATES = [
    ROOT,
    SUB,
    LEAF,
    CROSS,
    CROSS.sign("Root", ca=True, private=ROOT.private),
    make("Leaf", private=rsa_key(1024)),
]
HOSTS = st.sampled_from([HOST, "other.example.com", "192.0.2.7", "2001:db8::1", "1.2.3", "a", "x--y", "123", "a" * 63])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A certificate of which some bytes are others, in PEM."""
    der = bytearray(draw(st.sampled_from(CERTIFICATES)).certificate.public_bytes(Encoding.DER))
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(der) - 1), st.integers(0, 255)), max_size=3)):
        der[at] = byte
    text = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


WHOLE = st.sampled_from([made.pem for made in CERTIFICATES])
MARKS = st.sampled_from(["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\n", "PRIVATE KEY", "\x00"])
TEXTS = st.lists(st.text(max_size=50) | MARKS | WHOLE | damaged(), max_size=4).map("".join)
CHAINS = st.lists(WHOLE | damaged(), min_size=1, max_size=5).map("".join)
KEYS = st.sampled_from([None, ROOT.key, SUB.key, LEAF.key, "hunter2"])


@given(TEXTS)
def test_any_text_is_certificates_or_an_error_on_one_line(text: str) -> None:
    problem = pem.ca_problem(text)
    assert problem is None or problem.isprintable()
    found = [] if problem else pem.certificates(text)
    assert all(pem.name(each).isprintable() and pem.sha256(each) and pem.key_sha256(each) for each in found)


@given(TEXTS | CHAINS, TEXTS | CHAINS | st.none(), TEXTS | CHAINS | st.none(), KEYS, HOSTS)
def test_any_chain_is_sent_as_it_is_or_refused_on_lines_of_ours(
    certificate: str, intermediates: str | None, ca: str | None, key: str | None, host: str
) -> None:
    chain = Given(certificate, intermediates, ca, key)
    for mistakes in (server_mistakes(chain, [host]), ca_mistakes(replace(chain, key=key or ROOT.key), [host])):
        assert all(problem.isprintable() and "hunter2" not in problem for _, problem in mistakes)
        if not mistakes:
            assert chain_of(chain).sent[0] == pem.certificates(certificate)[0]
