"""What the engine does: brings each resource to where the program wants it, deletes what nobody wants, and notes it."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.rehearsal.errors import InitError, StepError
from lab.rehearsal.provider import Component, Declared, Diff, Provider
from lab.rehearsal.state import PROVIDERS, STACK, Resource, State
from lab.rehearsal.values import UNKNOWN, Props, bare, has_secret, is_unknown, marked, plain

if TYPE_CHECKING:
    from lab.rehearsal.display import Display
    from lab.rehearsal.monitor import Hooks

DYNAMIC = "pulumi-python"


@dataclass
class Goal:
    """What a program wants of one resource."""

    new: Resource
    delete_before_replace: bool | None
    hooks: Mapping[str, list[str]]
    runner: Hooks
    version: str

    @property
    def urn(self) -> str:
        return self.new.urn


class Deployment:
    """One run over a stack's state; a preview changes neither the state nor anything outside."""

    def __init__(
        self, state: State, display: Display, config: Mapping[str, Any], project: str, *, preview: bool
    ) -> None:
        self._state = state
        self._display = display
        self._config = dict(config)
        self._project = project
        self._preview = preview
        self._olds = [replace(resource) for resource in state.resources]
        """Those of the former run that this one has not come to yet."""
        self._news: list[Resource] = []
        self._lost: set[str] = set()
        """URNs of what failed, and of what depends on it."""
        self._seen: set[str] = set()
        self._stack_outputs: Props = {}
        self._providers: dict[str, Provider] = {}
        self._lock = threading.RLock()

    @property
    def failed(self) -> bool:
        return bool(self._lost)

    # What the program declares.

    def register(self, goal: Goal) -> Resource | None:
        """Take the resource to its goal; None when that failed, or when what it needs did."""
        new = goal.new
        needed = {*new.dependencies, new.parent, _urn_of(new.provider)}
        if needed & self._lost:
            self._lost.add(new.urn)
            return None
        with self._telling(new):
            with self._lock:
                if new.urn in self._seen:
                    raise StepError(f"Duplicate resource URN '{new.urn}'; try giving it a unique name")
                self._seen.add(new.urn)
                if new.type.startswith(f"{DYNAMIC}:") and not new.provider:
                    new.provider = self._default_provider(goal)
            if new.type.startswith(PROVIDERS):
                new.inputs |= {"version": goal.version, "__internal": {}}
            return self._step(goal)
        return None

    def set_outputs(self, urn: str, outputs: Props) -> None:
        """Note what a component, or the stack, gives out; unknown parts of a failed run are not noted."""
        with self._lock:
            found = next(resource for resource in self._news if resource.urn == urn)
            if found.type == STACK:
                self._stack_outputs = outputs
            elif not (self._lost and is_unknown(outputs)):
                found.outputs = outputs
                self._save()

    def finish(self) -> None:
        """Note the stack's outputs and delete what nobody wants any longer; not after a failure."""
        if self._lost:
            return
        stack = next(resource for resource in self._news if resource.type == STACK)
        self._display.outputs(stack.outputs, self._stack_outputs)
        stack.outputs = self._stack_outputs
        self._save()
        self._delete_olds()

    def _default_provider(self, goal: Goal) -> str:
        urn = f"{goal.urn.rsplit('::', 2)[0]}::{PROVIDERS}{DYNAMIC}::default"
        found = next((resource for resource in self._news if resource.urn == urn), None)
        if found is None:
            self._seen.add(urn)
            wanted = Resource(urn, PROVIDERS + DYNAMIC, custom=True, inputs=dict(self._config))
            found = self._step(replace(goal, new=wanted, hooks={}))
        return f"{found.urn}::{found.id or UNKNOWN}"

    def _step(self, goal: Goal) -> Resource:
        new = goal.new
        with self._lock:
            old = next((old for old in self._olds if old.urn == goal.urn and not old.delete), None)
        provider = self._provider(new)
        wanted = new.inputs
        self._check(provider, new, wanted, plain(old.inputs) if old else {})
        if old is None:
            return self._create(goal, provider, "create")
        diff = self._diff(provider, old, new)
        if diff.replaces:
            # What a provider has filled in, such as a name that must be free, is not the old one's.
            self._check(provider, new, wanted, {})
            return self._replace(goal, provider, old, diff)
        new.id = old.id
        if diff.changes:
            return self._update(goal, provider, old, diff)
        new.outputs = old.outputs
        with self._display.step("same", old, new):
            return self._commit(new, old)

    @staticmethod
    def _check(provider: Provider, new: Resource, wanted: Props, olds: Props) -> None:
        checked, failures = provider.check(new.name, olds, plain(wanted))
        if failures:
            raise StepError(*(_failure(new, wanted, *failure) for failure in failures))
        new.inputs = marked(checked, wanted)

    @staticmethod
    def _diff(provider: Provider, old: Resource, new: Resource) -> Diff:
        if _urn_of(old.provider) != _urn_of(new.provider):
            raise StepError("another provider for the same resource is not implemented by the rehearsal engine")
        diff = provider.diff(old.id, plain(old.outputs), plain(new.inputs))
        if diff.changes is None:
            diff.changes = plain(old.inputs) != plain(new.inputs)
        if old.initErrors:
            diff.changes = True
        return diff

    def _create(self, goal: Goal, provider: Provider, op: str, diff: Diff | None = None) -> Resource:
        new = goal.new
        with self._display.step(op, None, new, diff):
            self._run_hooks(goal, "before_create", None)
            if self._preview:
                outs = provider.planned({}, plain(new.inputs))
            else:
                with self._pending(new):
                    new.id, outs = provider.create(plain(new.inputs))
                if new.type.startswith(PROVIDERS):
                    new.id = str(uuid.uuid4())
            return self._commit(self._with_outputs(new, outs))

    def _update(self, goal: Goal, provider: Provider, old: Resource, diff: Diff) -> Resource:
        new = goal.new
        with self._display.step("update", old, new, diff):
            self._run_hooks(goal, "before_update", old)
            outs, news = plain(old.outputs), plain(new.inputs)
            if self._preview:
                return self._commit(self._with_outputs(new, provider.planned(outs, news)), old)
            try:
                return self._commit(self._with_outputs(new, provider.update(old.id, outs, news)), old)
            except InitError as error:
                new.initErrors = [str(error)]
                self._commit(self._with_outputs(new, error.outputs), old)
                raise

    def _replace(self, goal: Goal, provider: Provider, old: Resource, diff: Diff) -> Resource:
        first = diff.delete_before_replace if goal.delete_before_replace is None else goal.delete_before_replace
        if first:
            self._refuse_chain(old)
            self._delete(old, "delete-replaced")
            self._note_replace(old, goal.new, diff)
            return self._create(goal, provider, "create-replacement", diff)
        with self._lock:
            old.delete = True
        try:
            new = self._create(goal, provider, "create-replacement", diff)
        except StepError:
            old.delete = False
            raise
        self._note_replace(old, new, diff)
        return new

    def _note_replace(self, old: Resource, new: Resource, diff: Diff) -> None:
        with self._display.step("replace", old, new, diff):
            pass

    def _refuse_chain(self, old: Resource) -> None:
        """Pulumi deletes first, too, what would be replaced because of a resource that is deleted first."""
        for user in [*self._olds, *self._news]:
            keys = [key for key, urns in user.propertyDependencies.items() if old.urn in urns]
            if not keys or user.delete:
                continue
            news = plain(user.inputs) | dict.fromkeys(keys, UNKNOWN)
            if self._provider(user).diff(user.id, plain(user.outputs), news).replaces:
                message = f"{user.name} would have to go before {old.name}: not implemented by the rehearsal engine"
                raise StepError(message)

    def _run_hooks(self, goal: Goal, kind: str, old: Resource | None) -> None:
        for name in goal.hooks.get(kind, []):
            goal.runner.run(name, old, goal.new, preview=self._preview)

    def _with_outputs(self, new: Resource, outs: Props) -> Resource:
        new.outputs = marked(outs, new.inputs, new.additionalSecretOutputs)
        return new

    # What only the state knows.

    def _delete_olds(self) -> None:
        for old in reversed(list(self._olds)):
            if any(old.urn in _needs(user) for user in self._olds if user.urn in self._lost):
                self._lost.add(old.urn)
                continue
            with self._telling(old):
                self._delete(old, "delete-replaced" if old.delete else "delete")

    def _delete(self, old: Resource, op: str) -> None:
        with self._display.step(op, old, None):
            if not self._preview:
                self._provider(old).delete(old.id, plain(old.outputs))
            with self._lock:
                self._olds.remove(old)
                self._save()

    def destroy(self) -> None:
        """Delete everything, the last made first."""
        self._delete_olds()

    def refresh(self, *, count: bool = True) -> None:
        """See what the resources of the state are by now."""
        for old in list(self._olds):
            with self._telling(old), self._display.refreshing(old, count=count) as told:
                if not old.custom or old.type.startswith(PROVIDERS) or old.delete:
                    continue
                now = self._provider(old).read(old.id, plain(old.outputs), plain(old.inputs))
                if now is None:
                    told.result = "delete"
                    self._olds.remove(old)
                else:
                    inputs, outs = now
                    told.result = "same" if bare(outs) == bare(plain(old.outputs)) else "update"
                    fresh = replace(old, inputs=marked(inputs, old.inputs), initErrors=[])
                    fresh.outputs = marked(outs, old.outputs, old.additionalSecretOutputs)
                    told.new = fresh
                    self._olds[self._olds.index(old)] = fresh
                self._save()
        self._state.resources = list(self._olds)
        if not (self._preview or self._lost):
            self._state.pending = set()
            self._save()

    # What all of these need.

    @contextmanager
    def _telling(self, resource: Resource) -> Iterator[None]:
        """Say what went wrong, and let what does not depend on the resource go on."""
        try:
            yield
        except StepError as error:
            self._lost.add(resource.urn)
            for reason in error.args:
                self._display.say("error", reason)
            self._display.errors += 1

    def _provider(self, resource: Resource) -> Provider:
        kind = resource.type
        if not resource.custom or kind.startswith(PROVIDERS):
            return _declared(kind)
        if not resource.provider:
            package = kind.partition(":")[0]
            raise StepError(f"{kind}: a default provider of {package} is not implemented by the rehearsal engine")
        with self._lock:
            key = f"{_urn_of(resource.provider)} {kind}"
            if key not in self._providers:
                declared = [*self._news, *self._olds, *self._state.resources]
                inputs = next(item.inputs for item in declared if item.urn == _urn_of(resource.provider))
                self._providers[key] = make_provider(kind, plain(inputs), self._project)
            return self._providers[key]

    @contextmanager
    def _pending(self, new: Resource) -> Iterator[None]:
        """Note that a create has begun: a run killed in it can't tell what it has made."""
        self._begun(new.urn, begun=True)
        try:
            yield
        finally:
            self._begun(new.urn, begun=False)

    def _begun(self, urn: str, *, begun: bool) -> None:
        with self._lock:
            self._state.pending ^= {urn} if begun != (urn in self._state.pending) else set()
            self._save()

    def _commit(self, new: Resource, old: Resource | None = None) -> Resource:
        with self._lock:
            if old is not None:
                self._olds.remove(old)
            self._news.append(new)
            self._save()
        return new

    def _save(self) -> None:
        if self._preview:
            return
        with self._lock:
            self._state.resources = [*self._news, *self._olds]
            self._state.save()


def _urn_of(provider: str) -> str:
    return provider.rpartition("::")[0]


def _needs(resource: Resource) -> set[str]:
    return {*resource.dependencies, resource.parent, _urn_of(resource.provider)}


def _failure(resource: Resource, inputs: Props, property_: str, reason: str) -> str:
    where = f"{resource.type} resource '{resource.name}'"
    if not property_:
        return f"{where} has a problem: {reason}"
    value = inputs.get(property_)
    shown = "<nil>" if value is None else "[secret]" if has_secret(value) else value
    text = shown if isinstance(shown, str) else json.dumps(shown)
    return f"{where}: property {property_} value {{{text}}} has a problem: {reason}"


def _declared(type_: str) -> Provider:
    if type_.startswith(PROVIDERS):
        package = type_.removeprefix(PROVIDERS)
        if package == "docker":
            from lab.rehearsal.docker_provider import Connection

            return Connection()
        if package not in (DYNAMIC, "tls"):
            raise StepError(f"{type_}: not implemented by the rehearsal engine")
        return Declared()
    return Component()


def make_provider(type_: str, config: Mapping[str, Any], project: str) -> Provider:
    """Return the provider of a resource type; raise StepError where there is none."""
    package = type_.partition(":")[0]
    if package == DYNAMIC:
        from lab.rehearsal.dynamic_provider import DynamicProvider

        return DynamicProvider(project, config)
    maker: Callable[[str, Mapping[str, Any]], Provider | None] = lambda _type, _config: None  # noqa: E731
    if package == "docker":
        from lab.rehearsal.docker_provider import provider_of as maker
    elif package == "tls":
        from lab.rehearsal.tls_provider import provider_of as maker
    if found := maker(type_, config):
        return found
    raise StepError(f"{type_}: not implemented by the rehearsal engine")
