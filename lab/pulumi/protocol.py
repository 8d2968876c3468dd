"""Pulumi's protocol without the rest of its SDK, whose loading is most of what a plugin's short life costs."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

# Packages that find their modules and run nothing of their own, until the protocol is loaded.
_loaded = "pulumi" in sys.modules
if not _loaded and (_sdk := find_spec("pulumi")) and _sdk.submodule_search_locations:
    for _name, _folder in {"pulumi": "", "pulumi.runtime": "/runtime"}.items():
        sys.modules[_name] = ModuleType(_name)
        sys.modules[_name].__path__ = [_sdk.submodule_search_locations[0] + _folder]

from pulumi.runtime import proto  # noqa: E402
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS as CHANNEL_OPTIONS  # noqa: E402
from pulumi.runtime.proto import status_pb2  # noqa: E402

if not _loaded:
    del sys.modules["pulumi"], sys.modules["pulumi.runtime"]

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands for a value that is not known yet (`pulumi.runtime.rpc.UNKNOWN`)."""

__all__ = ["CHANNEL_OPTIONS", "UNKNOWN", "proto", "status_pb2"]
