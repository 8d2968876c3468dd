"""docs/security.md: each test that a row names exists, and shows what the row says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = (TESTS.parent / "docs/security.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in DOCUMENT.splitlines() if re.match(r"\| (?!Who|---)", line)]


def named(cell: str) -> Iterator[tuple[Path, list[str]]]:
    """Yield each file of tests that a cell names, with its claims; without a folder it is beside the one before."""
    folder = TESTS
    for file, claims in re.findall(r"`([\w/]+\.py)`(?:: ([^`]*))?", cell):
        folder = (TESTS / file).parent if "/" in file else folder
        yield folder / Path(file).name, [claim for claim in re.split(r"[;.](?: |$)", claims) if claim]


def as_a_name(claim: str) -> str:
    return "test_" + re.sub(r"\W+", "_", claim.lower().replace("'", "")).strip("_")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_row_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3
    files = [*named(row[2])]
    assert files or row[2].startswith("`make check`")
    for file, claims in files:
        names = re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE)
        for claim in claims if names else ():
            assert [each for each in names if each.startswith(as_a_name(claim))], f"{file.name}: {claim}"
