"""What `python -m msr_cache` prints of its commands."""

from __future__ import annotations

import pytest

from msr_cache import __main__ as program


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
    monkeypatch.setattr("sys.argv", ["python -m msr_cache", *words, "--help"])
    with pytest.raises(SystemExit):
        program.main()
    assert text in " ".join(capsys.readouterr().out.split())
