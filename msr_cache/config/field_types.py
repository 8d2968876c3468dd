"""Forms of values that the stack's config and the registry's config.yml have in common."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_HOST_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LONGEST_HOST = 253
"""Characters (RFC 1035)."""
_DURATION = r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+"


@dataclass(frozen=True)
class Secret:
    """Marks a field whose value no message, preview or output may show."""


def is_host(text: str) -> bool:
    """Whether `text` is a host name or an IP address, and nothing else."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= _LONGEST_HOST and bool(re.fullmatch(rf"{_HOST_LABEL}(\.{_HOST_LABEL})*", text))
    return True


def _go_duration(value: object) -> object:
    if not isinstance(value, str | int | float | None) or (
        isinstance(value, str) and (value == "0" or re.fullmatch(_DURATION, value))
    ):
        return value
    # MSR cache configuration reference, blobttl: "If no suffix is specified, nanoseconds are used".
    trap = ", which without a unit means nanoseconds;" if str(value).isdecimal() else ","
    message = f"found {value!r}{trap} allowed is a number with ms, s, m or h, such as 24h or 1h30m"
    raise ValueError(message)


def _pem_text(value: object) -> object:
    """Read a file where no PEM text is given; what stands there may be a key, and is not shown."""
    if not isinstance(value, str):
        return value
    text = value
    if "-----BEGIN " not in value:
        try:
            text = Path(value).expanduser().read_text("ascii")
        except UnicodeDecodeError:
            message = "found a file that is no PEM text; a DER file is made one by `openssl x509 -inform der -in FILE`"
            raise ValueError(message) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no file name"
            message = (
                f"found neither PEM text nor a file that can be read ({reason}); "
                "a path is taken from the folder of Pulumi.yaml"
            )
            raise ValueError(message) from None
    return text.strip() + "\n"


def _without_user(url: str) -> str:
    # A password in a URL is refused, and must not be printed on the way.
    return re.sub(r"//.*@", "//...@", url)


def _origin(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        forms = " or ".join(f"{scheme}://host[:port]" for scheme in schemes)
        allowed = f"{forms} with no path, user or blank"
        message = f"found {_without_user(url)!r}, allowed is {allowed}"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(message) from None
        plain = url.rstrip("/") == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
        if parts.scheme not in schemes or not plain or not is_host(parts.hostname or "") or port == 0:
            raise ValueError(message)
        return url.rstrip("/")

    return AfterValidator(check)


GoDuration = Annotated[str, BeforeValidator(_go_duration)]
"""Go's time.Duration as text, always with a unit: a bare number would be nanoseconds."""
PemText = Annotated[str, BeforeValidator(_pem_text)]
"""PEM text, or the path of a file of it."""
HttpsOrigin = Annotated[str, _origin("https")]
HttpOrigin = Annotated[str, _origin("https", "http")]
Port = Annotated[int, Field(ge=1, le=65535)]
