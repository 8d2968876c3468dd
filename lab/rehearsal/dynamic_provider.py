"""Dynamic resources, run by their own code: what the SDK's host for them (pulumi.dynamic) does, in this process."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pulumi.dynamic import Config, ConfigureRequest, ResourceProvider
from pulumi.runtime import Settings, configure, rpc

from lab.rehearsal.errors import StepError
from lab.rehearsal.provider import Diff, Failures, Provider
from lab.rehearsal.values import Props, from_struct, to_struct

PREFIX = "pulumi-python:"
_CODE = "__provider"

T = TypeVar("T")


class DynamicProvider(Provider):
    """Any `pulumi.dynamic` resource; its code is named by its properties."""

    def __init__(self, project: str, config: Mapping[str, Any]) -> None:
        self._project = project
        self._config = dict(config)
        self._loaded: dict[str, ResourceProvider] = {}
        self._loading = threading.Lock()

    def check(self, _name: str, olds: Props, news: Props) -> tuple[Props, Failures]:
        def run() -> tuple[Props, Failures]:
            result = self._code(news).check(_read(olds, unknowns=True), _read(news, unknowns=True))
            failures = [(failure.property, failure.reason) for failure in result.failures]
            return _written(result.inputs) | {_CODE: news[_CODE]}, failures

        return self._call(run)

    def diff(self, id_: str, outs: Props, news: Props) -> Diff:
        def run() -> Diff:
            result = self._code(news).diff(id_, _read(outs, unknowns=True), _read(news, unknowns=True))
            return Diff(result.changes, list(result.replaces or []), bool(result.delete_before_replace))

        return self._call(run)

    def create(self, news: Props) -> tuple[str, Props]:
        def run() -> tuple[str, Props]:
            result = self._code(news).create(_read(news))
            return result.id, _written(result.outs or {}) | {_CODE: news[_CODE]}

        return self._call(run)

    def read(self, id_: str, outs: Props, inputs: Props) -> tuple[Props, Props] | None:
        def run() -> tuple[Props, Props] | None:
            result = self._code(outs).read(id_, _read(outs))
            if not result.id:
                return None
            code = {_CODE: outs[_CODE]}
            now = inputs if result.inputs is None else _written(result.inputs) | code
            return now, _written(result.outs or {}) | code

        return self._call(run)

    def update(self, id_: str, outs: Props, news: Props) -> Props:
        def run() -> Props:
            result = self._code(news).update(id_, _read(outs), _read(news))
            return _written(result.outs or {}) | {_CODE: news[_CODE]}

        return self._call(run)

    def delete(self, id_: str, outs: Props) -> None:
        self._call(lambda: self._code(outs).delete(id_, _read(outs)))

    def _code(self, props: Props) -> ResourceProvider:
        import dill  # type: ignore[import-untyped]

        with self._loading:
            if props[_CODE] not in self._loaded:
                provider: ResourceProvider = dill.loads(base64.b64decode(props[_CODE]))  # noqa: S301 - the program's own
                provider.configure(ConfigureRequest(config=Config(self._config, self._project)))
                self._loaded[props[_CODE]] = provider
            return self._loaded[props[_CODE]]

    def _call(self, run: Callable[[], T]) -> T:
        """Run the provider's code with the settings that the host has, and none of the program's."""

        def with_settings() -> T:
            configure(Settings(project=self._project, stack="stack", organization="organization"))
            return run()

        try:
            return contextvars.Context().run(with_settings)
        except Exception:  # noqa: BLE001 - whatever the provider raises
            raise StepError(_said()) from None


def _said() -> str:
    """Return what the host answers for an exception: it asks module `traceback` of its `__main__`.

    Providers may have put words of their own there.
    """
    texts = getattr(sys.modules["__main__"], "traceback", traceback)
    return str(texts.format_exc())


def _read(props: Props, *, unknowns: bool = False) -> Props:
    values: Props = rpc.deserialize_properties(to_struct(props), unknowns)
    return values


def _written(props: Mapping[str, Any]) -> Props:
    loop = asyncio.new_event_loop()
    try:
        return from_struct(loop.run_until_complete(rpc.serialize_properties(dict(props), {})))
    finally:
        loop.close()
