"""Text from outside, as a message may show it: a certificate's names, an error of MSR, a line of a task's log."""

import re
from collections.abc import Iterable

_LONGEST = 400
_USER_AND_PASSWORD = re.compile(r"//[^\s/@:]*:[^\s@]*@(?!sha256:)")


def shown(text: object, secrets: Iterable[str] = (), longest: int = _LONGEST) -> str:
    """Return `text` on one line of at most `longest` characters, without `secrets`.

    What doesn't print is escaped: a line break could forge a line of ours, and an escape sequence hide one. Secrets go
    before the text is cut: half of one would stay. User and password go from each URL: the registry logs them.
    """
    line = _USER_AND_PASSWORD.sub("//...@", str(text)).replace("\t", " ")
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        line = line.replace(secret, "[secret]")
    # Cut twice: nothing is escaped that is not shown, and what is escaped is longer.
    line = "".join(map(_printable, line[: longest + 1]))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _printable(each: str) -> str:
    return each if each.isprintable() else each.encode("unicode_escape").decode()
