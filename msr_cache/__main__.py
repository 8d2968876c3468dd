"""Commands for an operator: `python -m msr_cache ca | verify`."""

from __future__ import annotations

import argparse
import sys

from msr_cache import ca, verify

COMMANDS = {"ca": ca.main, "verify": verify.main}


def main() -> None:
    """Hand what follows a command's name to that command."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    COMMANDS[parser.parse_args(sys.argv[1:2]).command](sys.argv[2:])


if __name__ == "__main__":
    main()
