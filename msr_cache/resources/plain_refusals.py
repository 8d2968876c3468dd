"""Works around the SDK's plugin host, which sends a traceback for whatever a dynamic provider raises.

pulumi/sdk/python/lib/pulumi/dynamic/__main__.py: `_abort_with_traceback` sends `traceback.format_exc()`. If you name
a wrong node, you need one line.
"""

import sys
import traceback
from types import SimpleNamespace

from msr_cache.refusal import Refusal


def install() -> None:
    """Make the plugin host, if this process is one, send only a Refusal's text."""
    host = sys.modules.get("__main__")
    if getattr(host, "traceback", None) is traceback:
        host.traceback = SimpleNamespace(format_exc=_text_of_current_exception)  # type: ignore[union-attr]


def _text_of_current_exception() -> str:
    error = sys.exc_info()[1]
    return str(error) if isinstance(error, Refusal) else traceback.format_exc()
