"""What `python -m msr_cache` prints of its commands, and of an address that none of them can use."""

from __future__ import annotations

import pytest

from msr_cache import __main__ as program


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a run that ends at once says, in one line."""
    monkeypatch.setattr("sys.argv", ["python -m msr_cache", *words])
    with pytest.raises(SystemExit) as ended:
        program.main()
    printed = capsys.readouterr()
    return " ".join(f"{printed.out} {printed.err} {ended.value}".split())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "adopt prints the config of a cache made by hand; ca shows MSR's CA and how to pin it; status shows what"),
        (["ca"], "shows MSR's CA and how to pin it; it trusts and changes nothing"),
        (["verify"], "checks each cache from here, as a client does"),
    ],
)
def test_the_help_says_what_each_command_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert text in said(monkeypatch, capsys, *words, "--help")


def test_the_url_of_msrs_ca_is_refused_where_msrs_own_is_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(monkeypatch, capsys, "ca", "https://msr.example.com/ca") == (
        "found 'https://msr.example.com/ca', expected https://host[:port] with no path, user or blank"
    )
