"""How soon a certificate ends is said in time, and who has to do what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from msr_cache.certificate import renewal
from msr_cache.settings import Tls
from tests.certificates import HOST, make

GIVEN = {"source": "csr", "certificate": make(HOST, sans=(HOST,)).pem}


def said(days_left: float, **tls: object) -> str | None:
    ends = datetime.now(UTC) + timedelta(days=days_left)
    # With nanoseconds, as pulumi-tls writes it.
    text = renewal("asia", Tls.model_validate(tls), f"{ends:%Y-%m-%dT%H:%M:%S}.123456789Z")
    assert text is None or f"the certificate ends on {ends:%Y-%m-%d}" in text
    return text


@pytest.mark.parametrize(
    ("days_left", "words"),
    [
        (59.5, "in 59 days: the first pulumi up within renewDays (30) of that will make a new one"),
        (30.5, "in 30 days: the first pulumi up within renewDays (30)"),
        (29.5, "in 29 days, which is within renewDays (30): this run makes a new one"),
        (-3, "in 0 days, which is within renewDays (30): this run makes a new one"),
    ],
)
def test_the_end_of_a_certificate_that_the_stack_makes_is_said_from_twice_the_window_on(
    days_left: float, words: str
) -> None:
    assert words in (said(days_left) or "")


@pytest.mark.parametrize(("days_left", "renew_days"), [(61, 30), (365, 30), (1, 0)])
def test_nothing_is_said_before(days_left: float, renew_days: int) -> None:
    assert said(days_left, renewDays=renew_days) is None


def test_of_a_given_certificate_it_is_said_that_somebody_must_give_the_next() -> None:
    assert "in 40 days: give a renewed one before those left are fewer than renewDays (30)" in (
        said(40.5, **GIVEN) or ""
    )
