"""What the engine asks of a provider, in plain values: it keeps the marks of secrecy to itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.rehearsal.errors import StepError
from lab.rehearsal.values import Props

Failures = list[tuple[str, str]]
"""Property and reason of each input that can't be used."""


@dataclass
class Diff:
    """What would change; `changes` is None where the provider leaves it to the engine to compare inputs."""

    changes: bool | None
    replaces: list[str] = field(default_factory=list)
    delete_before_replace: bool = False
    detail: dict[str, str] = field(default_factory=dict)
    """Path to kind (add, update or delete), for those providers that tell."""


class Provider(ABC):
    """One resource type's life. `outs` are the outputs of the last run, `news` the checked inputs of this one."""

    def check(self, _name: str, _olds: Props, news: Props) -> tuple[Props, Failures]:
        return news, []

    @abstractmethod
    def diff(self, id_: str, outs: Props, news: Props) -> Diff: ...

    @abstractmethod
    def create(self, news: Props) -> tuple[str, Props]: ...

    def read(self, id_: str, outs: Props, inputs: Props) -> tuple[Props, Props] | None:
        """Return inputs and outputs as they are now; None when the resource is gone."""
        del id_
        return inputs, outs

    @abstractmethod
    def update(self, id_: str, outs: Props, news: Props) -> Props: ...

    def delete(self, id_: str, outs: Props) -> None:
        """Remove it; by default there is nothing to remove but what the state says."""
        del id_, outs

    def planned(self, _outs: Props, news: Props) -> Props:
        """Return the outputs as far as a preview knows them."""
        return news


class Declared(Provider):
    """Provider resources: nothing but what the program says of them."""

    def diff(self, _id: str, _outs: Props, _news: Props) -> Diff:
        return Diff(None)

    def create(self, news: Props) -> tuple[str, Props]:
        return "", self.planned({}, news)

    def update(self, _id: str, outs: Props, news: Props) -> Props:
        return self.planned(outs, news)

    def planned(self, _outs: Props, news: Props) -> Props:
        return {key: value for key, value in news.items() if not key.startswith("__")}


class Component(Declared):
    """Components: their outputs are what they register later."""

    def planned(self, outs: Props, _news: Props) -> Props:
        return outs


def refuse_unknown(where: str, found: Mapping[str, object], known: Mapping[str, object] | set[str]) -> None:
    """Raise StepError that names the inputs which are not implemented."""
    if others := sorted(key for key in found if key not in known and not key.startswith("__")):
        message = f"{where}: {', '.join(others)}: not implemented by the rehearsal engine"
        raise StepError(message)
