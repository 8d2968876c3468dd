"""Commands for an operator, beside Pulumi's own."""

import argparse
import sys
from importlib import import_module

from msr_cache.refusal import Refusal

COMMANDS = ("adopt", "ca", "status", "verify")


def main() -> None:
    """Run the named command with the remaining arguments."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache", description=__doc__)
    parser.add_argument(
        "command",
        choices=COMMANDS,
        help=(
            "adopt prints the config of a cache made by hand; ca shows MSR's CA and how to pin it; "
            "status shows what needs an operator; verify checks each cache as a client does"
        ),
    )
    command = import_module(f"msr_cache.commands.{parser.parse_args(sys.argv[1:2]).command}")
    try:
        command.main(sys.argv[2:])
    except Refusal as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
