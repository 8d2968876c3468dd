"""Forms of values that the stack's config and the registry's config.yml have in common."""

from __future__ import annotations

import errno
import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from msr_cache.config.errors import mismatch, quoted

_HOST_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LONGEST_HOST = 253
"""Characters (RFC 1035)."""
_LARGEST_PORT = 65535
_NANOSECONDS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}
_DURATION = rf"0|([0-9]+(\.[0-9]+)?({'|'.join(_NANOSECONDS)}))+"
_LONGEST_DURATION = 1 << 63
"""Nanoseconds: Go's time.Duration is an int64."""


def value_at(config: object, *path: str | int) -> object:
    """Return what is at `path` in `config`, whatever its shape; None if nothing is."""
    for part in path:
        entries = dict(enumerate(config)) if isinstance(config, list) else config
        config = entries.get(part) if isinstance(entries, dict) else None
    return config


def depth(config: object, path: Sequence[str | int]) -> int:
    """Return how far `path` leads into the maps of `config`: a mistake was written where that is farther."""
    for deep, part in enumerate(path):
        if not isinstance(config, dict) or part not in config:
            return deep
        config = config[part]
    return len(path)


def as_map(value: object) -> dict[str, Any]:
    """Return `value`, or an empty map if it is none; `validate` reports that."""
    return value if isinstance(value, dict) else {}


def is_host(text: str) -> bool:
    """Whether `text` is a host name or an IP address without a zone, and nothing else."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= _LONGEST_HOST and bool(re.fullmatch(rf"{_HOST_LABEL}(\.{_HOST_LABEL})*", text))
    return "%" not in text


def go_duration(value: object) -> object:
    """Return `value` if Go reads it as a time.Duration with a unit; otherwise raise ValueError."""
    expected = "a number with ms, s, m or h, such as 24h or 1h30m"
    if isinstance(value, str) and re.fullmatch(_DURATION, value):
        parts = re.findall(r"([0-9.]+)([^0-9.]+)", value)
        if sum(float(number) * _NANOSECONDS[unit] for number, unit in parts) < _LONGEST_DURATION:
            return value
        expected = "292 years or less"
    if str(value).isdecimal():
        # MSR cache configuration reference, blobttl: "If no suffix is specified, nanoseconds are used".
        raise ValueError(f"found {quoted(value)}, which means nanoseconds without a unit; expected {expected}")
    raise ValueError(mismatch(value, expected))


def holds_credentials(key: str, value: str) -> bool:
    """Whether a variable has a login in a URL, also in one without a scheme, or a name that speaks of a secret."""
    return bool(re.search(r"(//|:)[^\s/]*@", value) or re.search(r"(?i)(passw|secret|token)(?!.*_file$)", key))


def secret_text(value: object) -> object:
    """Return `value` if it is text that is not empty; no error shows it."""
    if not isinstance(value, str) or not value:
        raise ValueError(mismatch(value, "text that is not empty", secret=True))
    return value


def _pem_text(value: object) -> str:
    """Return PEM text, or what a file holds; no error shows `value`, which may be a key."""
    if not isinstance(value, str):
        raise ValueError(mismatch(value, "PEM text or the path of a file", secret=True))  # noqa: TRY004 - or pydantic raises it
    text = value
    if "-----BEGIN " not in value:
        try:
            path = Path(value).expanduser()
            if path.is_fifo() or path.is_char_device():  # reading it could wait, or go on, without end
                raise OSError(errno.EINVAL, "not a regular file")  # noqa: TRY301 - reported with the others
            text = path.read_text("latin-1")
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "no file name"
            raise ValueError(
                f"found neither PEM text nor a file that can be read ({reason}); "
                "set a path relative to the folder of Pulumi.yaml"
            ) from None
        if "-----BEGIN " not in text:
            raise ValueError(
                "found a file that is not PEM text, expected one with a BEGIN line; convert a DER file with "
                "`openssl x509 -inform der -in FILE`"
            )
    return ascii_only(text).strip() + "\n"


def ascii_only(pem: str) -> str:
    """Return `pem` as OpenSSL reads it: only comments can have other characters than ASCII."""
    return pem.encode("ascii", "ignore").decode()


def _origin(*schemes: str) -> Callable[[str], str]:
    forms = " or ".join(f"{scheme}://host[:port]" for scheme in schemes)

    def check(url: str) -> str:
        message = mismatch(url, f"{forms} with no path, user or blank")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(message) from None
        plain = url.rstrip("/") == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
        if parts.scheme not in schemes or not plain or not is_host(parts.hostname or "") or port == 0:
            raise ValueError(message)
        return url.rstrip("/")

    return check


http_origin = _origin("https", "http")
https_origin = _origin("https")


def swarm_host(value: object) -> object:
    """Return `value` if it is a manager's address; otherwise raise ValueError. No form has room for a password."""
    parts = re.fullmatch(
        r"unix:///\S+|(tcp|ssh)://(?:[^\s/@:]+@)?(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_][\w.-]*))(?::([0-9]{1,5}))?/?",
        value if isinstance(value, str) else "",
        re.ASCII,
    )
    scheme, ip, _, port = parts.groups() if parts else (None,) * 4
    tcp = scheme == "tcp" and (port is None or "@" in str(value))
    if not parts or tcp or (ip and not is_host(ip)) or not 0 < int(port or 1) <= _LARGEST_PORT:
        raise ValueError(mismatch(value, "ssh://user@host, tcp://host:port or unix:///path"))
    return value


GoDuration = Annotated[str, BeforeValidator(go_duration)]
"""Go's time.Duration as text, always with a unit: a bare number would be nanoseconds."""
PemText = Annotated[str, BeforeValidator(_pem_text)]
"""PEM text, or the path of a file that holds it. No error shows it."""
HttpsOrigin = Annotated[str, AfterValidator(https_origin)]
HttpOrigin = Annotated[str, AfterValidator(http_origin)]
Port = Annotated[int, Field(ge=1, le=_LARGEST_PORT)]
