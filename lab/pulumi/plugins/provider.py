"""What a plugin has to know of each resource type: how one is checked, compared, created, read, updated and deleted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.errors import LabError
from lab.pulumi.plugins.values import Differences, Props


class StepError(LabError):
    """Why a resource could not be checked, created, read, updated or deleted."""


class InitError(StepError):
    """A resource was changed and then failed: `outputs` is its state now, which the next run compares again."""

    def __init__(self, reason: str, outputs: Props) -> None:
        super().__init__(reason)
        self.outputs = outputs


@dataclass
class Diff:
    """Whether an update is due, the inputs for which it must be a replacement, and if known, all paths that differ."""

    changes: bool
    replaces: list[str] = field(default_factory=list)
    delete_before_replace: bool = False
    differences: Differences = field(default_factory=dict)


class Provider(ABC):
    """One resource type. `outs` is the state of a resource, `news` the checked inputs of this run."""

    @abstractmethod
    def check(self, name: str, news: Props) -> Props:
        """Return the inputs as they are stored; StepError for any that is unknown."""

    @abstractmethod
    def diff(self, outs: Props, news: Props) -> Diff: ...

    @abstractmethod
    def planned(self, outs: Props, news: Props) -> Props:
        """Return the state after an update (a creation: `outs` is empty) as far as a preview knows it."""

    @abstractmethod
    def create(self, news: Props) -> tuple[str, Props]: ...

    def read(self, _id: str, outs: Props) -> Props | None:
        """Return the state as it is now; None when the resource is gone."""
        return outs

    @abstractmethod
    def update(self, id_: str, outs: Props, news: Props) -> Props: ...

    def delete(self, id_: str) -> None:
        """Remove it; by default there is nothing but the state to remove."""
        del id_


def refuse_unknown(where: str, found: Mapping[str, object], known: Mapping[str, object] | set[str]) -> None:
    """Raise StepError that names the inputs which the stand-in does not know."""
    if others := sorted(key for key in found if key not in known and not key.startswith("__")):
        raise StepError(f"{where}: the lab's stand-in for this plugin does not know {', '.join(others)}")
