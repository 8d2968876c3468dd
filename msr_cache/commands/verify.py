"""`pulumi stack output --json caches | python -m msr_cache verify`: checks each cache from here, as a client does."""

from __future__ import annotations

import argparse
import json
import re
import sys
from functools import partial

from msr_cache.config.field_types import https_origin
from msr_cache.msr.client_check import Blob, Target, fetch, tls_steps
from msr_cache.refusal import Refusal


def main(arguments: list[str]) -> None:
    """Print each step; exit with an error if any cache fails one."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache verify", description=__doc__)
    parser.add_argument("--blob", type=_blob, help="a blob to fetch through each cache: repository@sha256:digest")
    options = parser.parse_args(arguments)
    try:
        caches = {
            name: Target(
                name, https_origin(cache["url"]), str(cache["certificatePem"]), str(cache["certificateSha256"])
            )
            for name, cache in json.load(sys.stdin).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        caches = {}
    if not caches:
        sys.exit("found no caches on standard input, expected the output of `pulumi stack output --json caches`")
    failed = [name for name, target in caches.items() if not _passes(target, options.blob)]
    if failed:
        sys.exit(f"can't be used from here: {', '.join(failed)}")


def _passes(target: Target, blob: Blob | None) -> bool:
    steps = [*tls_steps(target)]
    if blob:
        steps.append(("a blob has the expected digest", partial(fetch, target, blob, blob.path)))
    for claim, step in steps:
        try:
            step()
        except Refusal as error:
            print(f"FAILED: {error}")
            return False
        print(f"{target.name}: {claim}", flush=True)
    return True


def _blob(text: str) -> Blob:
    if not (found := re.fullmatch(r"(\S+)@(sha256:[0-9a-f]{64})", text)):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected repository@sha256:digest")
    return Blob(*found.groups())
