"""Text from outside, as a message may show it: a certificate's names, an error of MSR, a line of a task's log."""

import re
from collections.abc import Iterable

_LONGEST = 400
_USER_INFO = re.compile(r"//[^\s/@]+@(?!sha256:)")


def shown(text: object, secrets: Iterable[str] = (), longest: int = _LONGEST) -> str:
    """Return `text` on one line of at most `longest` characters, without `secrets`.

    What doesn't print is escaped: a line break could forge a line of ours, and an escape sequence hide one. Secrets go
    before the text is cut: half of one would stay. User and password go from each URL: the registry logs them.
    """
    line = _USER_INFO.sub("//...@", str(text))
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        line = line.replace(secret, "[secret]")
    line = "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode() for each in line
    )
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
