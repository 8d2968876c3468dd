"""The SDK's side of the engine: what a program's resource monitor and engine answer, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, engine_pb2, resource_pb2

from lab.rehearsal.errors import EngineError, StepError
from lab.rehearsal.state import STACK, Resource
from lab.rehearsal.steps import Deployment, Goal
from lab.rehearsal.values import from_struct, plain, to_struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.rehearsal.display import Display

_FEATURES = ("SECRETS", "RESOURCE_REFERENCES", "ALIAS_SPECS", "RESOURCE_HOOKS")
# What of a request is read, here or by the SDK itself, or says nothing of the resource.
_READ = {
    *("type", "name", "parent", "custom", "object", "provider", "dependencies", "propertyDependencies", "hooks"),
    *("deleteBeforeReplace", "deleteBeforeReplaceDefined", "additionalSecretOutputs", "version"),
    *("acceptSecrets", "acceptResources", "supportsPartialValues", "supportsResultReporting"),
    *("sourcePosition", "stackTrace", "providers"),
}
_HOOKS = {"before_create", "before_update"}


def make_urn(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """Return the URN as Pulumi makes it: the types of all parents but the stack, then its own."""
    types = parent.split("::")[2] if parent else STACK
    return f"urn:pulumi:{stack}::{project}::{type_ if types == STACK else f'{types}${type_}'}::{name}"


class Hooks:
    """Functions of the program that run before a step; the SDK serves them by gRPC."""

    def __init__(self) -> None:
        self._registered: dict[str, resource_pb2.RegisterResourceHookRequest] = {}

    def register(self, request: resource_pb2.RegisterResourceHookRequest) -> None:
        if request.ignore_errors:
            raise EngineError(f"hook {request.name}: ignore_errors is not implemented by the rehearsal engine")
        self._registered[request.name] = request

    def run(self, name: str, old: Resource | None, new: Resource, *, preview: bool) -> None:
        """Run the hook; what it raises is why the step can't be done."""
        hook = self._registered[name]
        if preview and not hook.on_dry_run:
            return
        values = {"new_inputs": new.inputs} | ({"old_inputs": old.inputs, "old_outputs": old.outputs} if old else {})
        request = resource_pb2.ResourceHookRequest(
            urn=new.urn,
            id=old.id if old else "",
            name=new.name,
            type=new.type,
            **{key: to_struct(value) for key, value in values.items()},
        )
        with grpc.insecure_channel(hook.callback.target) as channel:
            invoke = callback_pb2.CallbackInvokeRequest(token=hook.callback.token, request=request.SerializeToString())
            answer = callback_pb2_grpc.CallbacksStub(channel).Invoke(invoke)
        if error := resource_pb2.ResourceHookResponse.FromString(answer.response).error:
            raise StepError(f'before hook "{name}" failed: {error}')


class Monitor:
    """Answers a program's calls; any other than these is refused by its name."""

    def __init__(self, deployment: Deployment, project: str, stack: str) -> None:
        self._deployment = deployment
        self._project = project
        self._stack = stack
        self._hooks = Hooks()

    def GetDeploymentInfo(self, _: empty_pb2.Empty) -> resource_pb2.DeploymentInfo:  # noqa: N802
        names = [f"RESOURCE_MONITOR_FEATURE_{name}" for name in _FEATURES]
        features = [resource_pb2.ResourceMonitorFeature.Value(name) for name in names]
        return resource_pb2.DeploymentInfo(supportedFeatures=features)

    def SignalAndWaitForShutdown(self, _: empty_pb2.Empty) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()

    def RegisterResourceHook(self, request: resource_pb2.RegisterResourceHookRequest) -> empty_pb2.Empty:  # noqa: N802
        self._hooks.register(request)
        return empty_pb2.Empty()

    def RegisterResource(  # noqa: N802
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Take the resource to where the program wants it."""
        goal = self._goal(request)
        done = self._deployment.register(goal)
        if done is None:
            return resource_pb2.RegisterResourceResponse(urn=goal.urn, result=resource_pb2.Result.FAIL)
        return resource_pb2.RegisterResourceResponse(urn=done.urn, id=done.id, object=to_struct(done.outputs))

    def RegisterResourceOutputs(  # noqa: N802
        self, request: resource_pb2.RegisterResourceOutputsRequest
    ) -> empty_pb2.Empty:
        self._deployment.set_outputs(request.urn, from_struct(request.outputs))
        return empty_pb2.Empty()

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        def refuse(request: object) -> Any:  # noqa: ANN401 - never returns
            what = getattr(request, "tok", "") or getattr(request, "type", "")
            raise EngineError(f"{name} {what}: not implemented by the rehearsal engine")

        return refuse

    def _goal(self, request: resource_pb2.RegisterResourceRequest) -> Goal:
        where = f"{request.type} resource '{request.name}'"
        asked = {field.name: value for field, value in request.ListFields() if value}
        hooks = {field.name: list(value) for field, value in request.hooks.ListFields()}
        if others := sorted((set(asked) - _READ) | (set(hooks) - _HOOKS)):
            raise EngineError(f"{where}: option {', '.join(others)}: not implemented by the rehearsal engine")
        before_replace = request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None
        new = Resource(
            urn=make_urn(self._stack, self._project, request.parent, request.type, request.name),
            type=request.type,
            custom=request.custom,
            inputs=from_struct(request.object),
            parent=request.parent,
            dependencies=sorted(request.dependencies),
            provider=request.provider,
            propertyDependencies={key: sorted(urns.urns) for key, urns in request.propertyDependencies.items()},
            additionalSecretOutputs=sorted(request.additionalSecretOutputs),
        )
        return Goal(new, before_replace, hooks, self._hooks, request.version)


class Engine:
    """Takes what a program logs."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def Log(self, request: engine_pb2.LogRequest) -> empty_pb2.Empty:  # noqa: N802
        if request.severity != engine_pb2.DEBUG:
            severity = {engine_pb2.INFO: "info", engine_pb2.WARNING: "warning", engine_pb2.ERROR: "error"}
            self._display.say(severity[request.severity], plain(request.message))
        return empty_pb2.Empty()
