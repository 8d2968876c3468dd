"""Serves a stand-in to Pulumi's engine, in the plugins' own protocol.

Not by `pulumi.provider.experimental`, which has the same protocol beneath it: it puts a stack trace into each error,
and can't say that a resource was changed and then failed, which is how the real docker plugin reports a rollback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from google.protobuf.empty_pb2 import Empty

from lab.errors import LabError
from lab.pulumi.plugins.provider import InitError, Provider, StepError
from lab.pulumi.plugins.values import Props, from_struct, to_struct
from lab.pulumi.protocol import proto, status_pb2
from lab.pulumi.serving import until_the_engine_ends

Connect = Callable[[str, Props], Props]
"""Checks the inputs of the plugin's own provider resource, which is named first."""
Find = Callable[[str, Props], Provider | None]
"""Returns the provider of a resource type, for the provider resource's inputs."""


class _Plugin(proto.ResourceProviderServicer):
    """The methods of the protocol that the engine calls for a program without functions and components."""

    def __init__(self, version: str, connect: Connect, find: Find) -> None:
        self._version = version
        self._connect = connect
        self._find = find
        self._config: Props = {}

    def GetPluginInfo(self, _request: Empty, _context: grpc.ServicerContext) -> proto.PluginInfo:
        return proto.PluginInfo(version=self._version)

    def CheckConfig(self, request: proto.CheckRequest, context: grpc.ServicerContext) -> proto.CheckResponse:
        with _answer(context):
            return proto.CheckResponse(inputs=to_struct(self._connect(_name(request.urn), from_struct(request.news))))

    def DiffConfig(self, _request: proto.DiffRequest, _context: grpc.ServicerContext) -> proto.DiffResponse:
        return proto.DiffResponse()  # unknown: the engine compares the inputs

    def Configure(self, request: proto.ConfigureRequest, _context: grpc.ServicerContext) -> proto.ConfigureResponse:
        self._config = from_struct(request.args)
        return proto.ConfigureResponse(supportsPreview=True)

    def Check(self, request: proto.CheckRequest, context: grpc.ServicerContext) -> proto.CheckResponse:
        with _answer(context):
            checked = self._of(request.urn).check(_name(request.urn), from_struct(request.news))
            return proto.CheckResponse(inputs=to_struct(checked))

    def Diff(self, request: proto.DiffRequest, context: grpc.ServicerContext) -> proto.DiffResponse:
        with _answer(context):
            diff = self._of(request.urn).diff(from_struct(request.olds), from_struct(request.news))
            return proto.DiffResponse(
                changes=proto.DiffResponse.DIFF_SOME if diff.changes else proto.DiffResponse.DIFF_NONE,
                replaces=diff.replaces,
                deleteBeforeReplace=diff.delete_before_replace,
                hasDetailedDiff=bool(diff.differences),
                detailedDiff={path: proto.PropertyDiff(kind=kind) for path, kind in diff.differences.items()},
            )

    def Create(self, request: proto.CreateRequest, context: grpc.ServicerContext) -> proto.CreateResponse:
        with _answer(context):
            provider, news = self._of(request.urn), from_struct(request.properties)
            id_, outs = ("", provider.planned({}, news)) if request.preview else provider.create(news)
            return proto.CreateResponse(id=id_, properties=to_struct(outs))

    def Read(self, request: proto.ReadRequest, context: grpc.ServicerContext) -> proto.ReadResponse:
        with _answer(context):
            outs = self._of(request.urn).read(request.id, from_struct(request.properties))
            if outs is None:
                return proto.ReadResponse()
            # An import has no inputs yet.
            inputs = request.inputs if request.inputs.fields else to_struct(outs)
            return proto.ReadResponse(id=request.id, properties=to_struct(outs), inputs=inputs)

    def Update(self, request: proto.UpdateRequest, context: grpc.ServicerContext) -> proto.UpdateResponse:
        with _answer(context, request.id):
            provider, outs, news = self._of(request.urn), from_struct(request.olds), from_struct(request.news)
            outs = provider.planned(outs, news) if request.preview else provider.update(request.id, outs, news)
            return proto.UpdateResponse(properties=to_struct(outs))

    def Delete(self, request: proto.DeleteRequest, context: grpc.ServicerContext) -> Empty:
        with _answer(context):
            self._of(request.urn).delete(request.id)
            return Empty()

    def Cancel(self, _request: Empty, _context: grpc.ServicerContext) -> Empty:
        return Empty()

    def _of(self, urn: str) -> Provider:
        type_ = urn.split("::")[-2].rpartition("$")[2]
        if provider := self._find(type_, self._config):
            return provider
        raise StepError(f"the lab's stand-in for this plugin does not know the type {type_}")


@contextmanager
def _answer(context: grpc.ServicerContext, id_: str = "") -> Iterator[None]:
    """Turn what the operator can understand into the protocol's errors; anything else is a fault of the stand-in."""
    try:
        yield
    except LabError as error:
        if isinstance(error, InitError):
            about = proto.ErrorResourceInitFailed(id=id_, reasons=[str(error)], properties=to_struct(error.outputs))
            status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
            status.details.add().Pack(about)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def serve(package: str, version: str, connect: Connect, find: Find) -> None:
    """Serve a plugin's protocol until the engine ends, and say in each run what it is that serves."""
    with grpc.insecure_channel(sys.argv[-1]) as engine:
        told = f"{package}: this is the lab's stand-in for {package}'s plugin, which works on the lab's swarm only"
        proto.EngineStub(engine).Log(proto.LogRequest(severity=proto.LogSeverity.Value("WARNING"), message=told))
    until_the_engine_ends(
        lambda server: proto.add_ResourceProviderServicer_to_server(_Plugin(version, connect, find), server)
    )
