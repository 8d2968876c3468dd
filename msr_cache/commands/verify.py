"""`pulumi stack output --json caches | python -m msr_cache verify`: looks at each cache from here, as a client does."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from functools import partial

from msr_cache.msr.client_check import Blob, Step, Target, fetch, tls_steps
from msr_cache.refusal import Refusal


def main(arguments: list[str]) -> None:
    """Print each step as it is done; end with an error if one has failed for any cache."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache verify", description=__doc__)
    parser.add_argument("--blob", type=_blob, help="fetch this through each cache: repository@sha256:digest")
    options = parser.parse_args(arguments)
    try:
        caches = {
            name: Target(name, told["url"], told["certificatePem"], told["certificateSha256"])
            for name, told in json.load(sys.stdin).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        sys.exit("found something else on standard input, allowed is what `pulumi stack output --json caches` prints")
    failed = [target for target in caches.values() if not _holds(target, options.blob)]
    if failed:
        sys.exit(f"{len(failed)} of {len(caches)} caches can't be used as seen from here")


def _holds(target: Target, blob: Blob | None) -> bool:
    for what, step in _steps(target, blob):
        try:
            step()
        except Refusal as error:
            print(f"{target.name}: NOT so: {what}\n{error}")
            return False
        print(f"{target.name}: {what}", flush=True)
    return True


def _steps(target: Target, blob: Blob | None) -> Iterator[Step]:
    yield from tls_steps(target)
    if blob:
        yield "a blob comes through it as its digest says", partial(fetch, target, blob, blob.path)


def _blob(text: str) -> Blob:
    if not (found := re.fullmatch(r"(\S+)@(sha256:[0-9a-f]{64})", text)):
        message = f"found {text!r}, allowed is repository@sha256:digest"
        raise argparse.ArgumentTypeError(message)
    return Blob(*found.groups())
