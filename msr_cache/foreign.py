"""Text from outside, as an error or a log line may show it: a certificate's names, an answer of MSR, a task's log."""

from collections.abc import Iterable

MASK = "[secret]"
_LONGEST = 200


def shown(text: object, secrets: Iterable[str] = (), longest: int = _LONGEST) -> str:
    """Return `text` on one line of at most `longest` characters, without `secrets`.

    What doesn't print is escaped: a line break could forge a line of ours, and an escape sequence hide one. Secrets go
    before the text is cut: half of one would stay.
    """
    line = str(text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        line = line.replace(secret, MASK)
    line = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
