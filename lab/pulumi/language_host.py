"""Pulumi's language host for Python, which no package registry serves: it runs programs and names their plugins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict

from lab.pulumi.protocol import proto
from lab.pulumi.serving import until_the_engine_ends

HAS_TOLD = 32
"""The exit code of a program that has failed and told why."""
_RUN_PROGRAM = Path(__file__).with_name("run_program.py")


class LanguageHost(proto.LanguageRuntimeServicer):
    """Runs each program in a process of its own, by the Python of the project's virtual environment."""

    def __init__(self) -> None:
        self._engine = ""
        self._running: set[subprocess.Popen[str]] = set()

    def Handshake(
        self, request: proto.LanguageHandshakeRequest, _context: grpc.ServicerContext
    ) -> proto.LanguageHandshakeResponse:
        self._engine = request.engine_address
        return proto.LanguageHandshakeResponse()

    def GetPluginInfo(self, _request: Empty, _context: grpc.ServicerContext) -> proto.PluginInfo:
        return proto.PluginInfo()

    def GetRequiredPackages(
        self, _request: proto.GetRequiredPackagesRequest, _context: grpc.ServicerContext
    ) -> proto.GetRequiredPackagesResponse:
        return proto.GetRequiredPackagesResponse(packages=list(required_plugins()))

    def About(self, _request: proto.AboutRequest, _context: grpc.ServicerContext) -> proto.AboutResponse:
        return proto.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def Run(self, request: proto.RunRequest, context: grpc.ServicerContext) -> proto.RunResponse:
        about = MessageToDict(request, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        virtualenv = about["info"]["options"].get("virtualenv", ".venv")
        program = subprocess.Popen(
            [Path(request.info.root_directory) / virtualenv / "bin" / "python", "-P", _RUN_PROGRAM, request.pwd],
            cwd=request.pwd,
            stdin=subprocess.PIPE,
            text=True,
        )
        self._running.add(program)
        context.add_callback(self.interrupt)
        # By a pipe: the config holds secrets, and may be longer than an environment variable.
        program.communicate(json.dumps({**about, "engine": self._engine, "has_told": HAS_TOLD}))
        self._running.discard(program)
        if program.returncode == HAS_TOLD:
            return proto.RunResponse(bail=True)
        failed = f"program exited with non-zero exit code: {program.returncode}" if program.returncode else ""
        return proto.RunResponse(error=failed)

    def Cancel(self, _request: Empty, _context: grpc.ServicerContext) -> Empty:
        self.interrupt()
        return Empty()

    def interrupt(self) -> None:
        """Ask the programs that still run to end, as Ctrl+C does."""
        for program in list(self._running):
            program.send_signal(signal.SIGINT)


def required_plugins() -> Iterator[proto.PackageDependency]:
    """Yield the plugin that each installed package says it needs."""
    for package in distributions():
        if package.name.startswith("pulumi"):
            about = Path(str(package.locate_file(package.name.replace("-", "_")))) / "pulumi-plugin.json"
            if about.exists():
                plugin = json.loads(about.read_text())
                yield proto.PackageDependency(name=plugin["name"], kind="resource", version=plugin["version"])


def main() -> None:
    """Serve the engine; a program that outlives it is interrupted."""
    host = LanguageHost()
    until_the_engine_ends(lambda server: proto.add_LanguageRuntimeServicer_to_server(host, server))
    host.interrupt()


if __name__ == "__main__":
    main()
