"""Each block of commands in README and docs/ is typed by a scenario, or left out for a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.end_to_end.howto import CONFIG_LEFT_OUT, LEFT_OUT, commands, lines_to_type, section
from tests.end_to_end.stack import CHECKOUT

PAGES = {
    str(page.relative_to(CHECKOUT)): page.read_text() for page in (CHECKOUT / "README.md", *CHECKOUT.glob("docs/*"))
}
INDENTED_COMMAND = re.compile(r"^ {4,}(?:\$|sudo|pulumi|docker|openssl|curl|python3|\.venv/bin/).*", re.MULTILINE)


def without_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


HEADINGS = {
    (page, each) for page, text in PAGES.items() for each in re.findall("^#+ (.*)", without_blocks(text), re.MULTILINE)
}


def asked_for(function: str) -> set[tuple[str, str]]:
    """Return the pages and headings that scenarios call a function of howto.py with."""
    trees = (ast.parse(file.read_text()) for file in Path(__file__).parent.glob("end_to_end/test_*.py"))
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    args = (call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == function)
    return {(ast.literal_eval(page), ast.literal_eval(heading)) for page, heading in args}


def test_each_block_of_commands_is_typed_by_a_scenario_or_left_out_for_a_reason() -> None:
    assert {at for at in HEADINGS if commands(*at)} == asked_for("commands")
    assert LEFT_OUT.keys() <= {line for text in PAGES.values() for line in lines_to_type(text)}


def test_each_piece_of_configuration_is_used_by_a_scenario_or_left_out_for_a_reason() -> None:
    assert {at for at in HEADINGS if "```yaml" in section(*at)} == asked_for("config") | CONFIG_LEFT_OUT.keys()


def test_no_command_stands_in_an_indented_block_where_no_scenario_finds_it() -> None:
    assert not [line for text in PAGES.values() for line in INDENTED_COMMAND.findall(without_blocks(text))]
