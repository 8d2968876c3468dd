"""What an operator reads of a run, in Pulumi's words, and the event log that a harness reads."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.rehearsal.project import LOADER
from lab.rehearsal.provider import Diff
from lab.rehearsal.state import STACK, Resource
from lab.rehearsal.values import UNKNOWN, Props, is_secret

_SIGNS = {
    "create": "+ ",
    "update": "~ ",
    "delete": "- ",
    "same": "  ",
    "replace": "+-",
    "create-replacement": "++",
    "delete-replaced": "--",
}
_COUNTED = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted"}
_LONGEST = 150
"""Characters of a text that are shown."""


@dataclass
class Seen:
    """What a refresh found of a resource."""

    result: str = "same"
    new: Resource | None = None


class Display:
    """Prints steps as they are done; with `diff`, what changes in each."""

    def __init__(self, *, diff: bool, preview: bool, log: Path | None) -> None:
        self._diff = diff
        self._preview = preview
        self._log = log
        self._counts: Counter[str] = Counter()
        self.errors = 0
        self._lock = threading.RLock()
        self._depths = {"": -1}

    @property
    def changes(self) -> int:
        return sum(count for op, count in self._counts.items() if op in _COUNTED)

    @contextmanager
    def step(self, op: str, old: Resource | None, new: Resource | None, diff: Diff | None = None) -> Iterator[None]:
        """Show a step before it is done, count and log it when it was."""
        of = new or old
        if of is None:
            return
        if op != "same" or of.type == STACK:
            self._show(op, old, new, diff or Diff(None))
        yield
        self._note(op, of, diff or Diff(None))

    @contextmanager
    def refreshing(self, old: Resource, *, count: bool) -> Iterator[Seen]:
        """Show what a refresh finds of a resource."""
        seen = Seen()
        yield seen
        if seen.result != "same":
            op = seen.result
            self._show(op, replace_inputs(old), replace_inputs(seen.new) if seen.new else None, Diff(None))
        self._note("refresh", old, Diff(None), seen.result, count=count)

    def outputs(self, old: Props, new: Props) -> None:
        """Show what the stack gives out, where that has changed."""
        if old != new and self._diff:
            self._print("    --outputs:--", *(f"    {line}" for line in _changes(old, new)))

    def say(self, severity: str, message: str) -> None:
        """Print a message whole."""
        self._print(f"{severity}: {message.rstrip()}")

    def summary(self, seconds: float | None = None) -> None:
        """Print the counts as Pulumi does at the end."""
        lines = []
        for op, done in _COUNTED.items():
            if count := self._counts[op]:
                lines.append(f"    {_SIGNS[op]}{count} {f'to {op}' if self._preview else done}")
        same = self._counts["same"]
        total = f"{self.changes} changes. " if len(lines) > 1 or (lines and same) else ""
        if total or same:
            lines.append(f"    {total}{f'{same} unchanged' if same else ''}")
        if self.errors:
            lines.append(f"    {self.errors} errored")
        self._print("Resources:", *lines, *([] if seconds is None else ["", f"Duration: {seconds:.0f}s"]))

    def _show(self, op: str, old: Resource | None, new: Resource | None, diff: Diff) -> None:
        of = new or old
        if of is None or of.is_default_provider:
            return
        names = _keys(old, new) if old and new and op != "same" else []
        if not self._diff:
            keys = ",".join(diff_keys(diff) or diff.replaces or names)
            self._print(f" {_SIGNS[op]} {of.type} {of.name} {op}{f' [diff: ~{keys}]' if keys else ''}")
            return
        if op in ("create-replacement", "delete-replaced"):
            return
        with self._lock:
            depth = self._depths[of.urn] = self._depths.get(of.parent, 0) + 1
        ids = ([f"[id={of.id}]"] if of.id else []) + [f"[urn={of.urn}]"]
        head = [f"{_SIGNS[op]}{of.type}: ({op})", *(f"    {line}" for line in ids)]
        self._print(*("    " * depth + line for line in [*head, *_body(op, old, new, diff)]))

    def _note(self, op: str, of: Resource, diff: Diff, result: str | None = None, *, count: bool = True) -> None:
        with self._lock:
            if count and not of.is_default_provider:
                self._counts[result or op] += 1
        self._write(
            {"op": op, "type": of.type, "name": of.name, "urn": of.urn}
            | {"keys": diff.replaces, "diffs": diff_keys(diff), "detailed": diff.detail}
            | ({"result": result} if result else {})
        )

    def _write(self, event: Props) -> None:
        if self._log:
            with self._lock, self._log.open("a") as log:
                log.write(json.dumps(event) + "\n")

    def _print(self, *lines: str) -> None:
        with self._lock:
            print("\n".join(lines), flush=True)


def replace_inputs(resource: Resource) -> Resource:
    """Let a refresh be shown by what it changes: outputs."""
    return Resource(**{**vars(resource), "inputs": resource.outputs})


def diff_keys(diff: Diff) -> list[str]:
    """Return the properties that a detailed diff touches."""
    return sorted({path.partition(".")[0].partition("[")[0] for path in diff.detail})


def _keys(old: Resource | None, new: Resource | None) -> list[str]:
    before, after = (resource.inputs if resource else {} for resource in (old, new))
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key) and not key.startswith("__"))


def _body(op: str, old: Resource | None, new: Resource | None, diff: Diff) -> list[str]:
    if op in ("same", "delete"):
        return []
    lines = _changes(old.inputs if old else None, new.inputs if new else {}, brief=bool(diff.detail))
    if diff.detail and not lines:
        # Nothing in the program has changed: it is what the provider found that differs from it.
        return [f"  ~ {path}: ({kind})" for path, kind in diff.detail.items()]
    return lines


def _changes(old: Any, new: Any, *, brief: bool = False) -> list[str]:  # noqa: ANN401 - JSON
    """Return lines for an object's properties, four columns in; with `brief` only those that differ."""
    before = old if old is not None else new
    keys = sorted(key for key in {*before, *new} if not key.startswith("__"))
    if brief:
        keys = [key for key in keys if before.get(key) != new.get(key)]
    width = max(map(len, keys), default=0)
    lines = []
    for key in keys:
        sign, shown = _change(before.get(key), new.get(key), brief=brief)
        lines += [f"  {sign} {key:{width}}: {shown[0]}", *shown[1:]]
    return lines


def _change(old: Any, new: Any, *, brief: bool) -> tuple[str, list[str]]:  # noqa: ANN401 - JSON
    if old == new:
        return " ", _text(new)
    if old is None or new is None:
        return ("+", _text(new)) if old is None else ("-", _text(old))
    word, before, after = "", old, new
    if isinstance(old, str) and isinstance(new, str) and (parsed := (_parsed(old), _parsed(new))) and all(parsed):
        word, (before, after) = "(yaml) ", parsed
    if isinstance(before, list) and isinstance(after, list):
        before, after = _indexed(before), _indexed(after)
    if not isinstance(before, dict) or not isinstance(after, dict) or is_secret(before) or is_secret(after):
        first, *rest = _text(new)
        *head, last = _text(old)
        return "~", [*head, f"{last} => {first}", *rest]
    return "~", [word + "{", *(f"    {line}" for line in _changes(before, after, brief=brief)), "    }"]


def _text(value: Any) -> list[str]:  # noqa: ANN401 - JSON
    if is_secret(value):
        return ["[secret]"]
    word = ""
    if isinstance(value, str):
        word, parsed = "(yaml) ", _parsed(value)
        if parsed is None:
            return ["[unknown]" if value == UNKNOWN else json.dumps(_short(value), ensure_ascii=False)]
        value = parsed
    if isinstance(value, list):
        value = _indexed(value)
    if isinstance(value, dict):
        return [word + "{", *(f"    {line}" for line in _changes(None, value)), "    }"] if value else [word + "{}"]
    return [json.dumps(value)]


def _indexed(items: list[Any]) -> Props:
    return {f"[{index}]": item for index, item in enumerate(items)}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _parsed(text: str) -> Any:  # noqa: ANN401 - YAML
    """Return the object that a text of several lines describes; None where it is just a text."""
    if "\n" not in text or text.startswith("-----BEGIN"):
        return None
    try:
        found = yaml.load(text, Loader=LOADER)  # noqa: S506 - safe
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict | list) else None
