"""`python -m msr_cache ca <MSR's URL>`: shows MSR's CA and how to pin it; nothing is trusted or changed by that."""

from __future__ import annotations

import argparse
import sys

from msr_cache.refusal import Refusal
from msr_cache.resources.msr_ca import certificates_of, fetch
from msr_cache.x509 import pem


def main(arguments: list[str]) -> None:
    """Print what answers, for a person to compare with what MSR's administrator says."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache ca", description=__doc__)
    parser.add_argument("url", help="such as https://msr.example.com, with :port where it is not 443")
    url = parser.parse_args(arguments).url.rstrip("/")
    if not url.startswith("https://"):
        sys.exit(f"found {url!r}, allowed is https://host or https://host:port")
    try:
        certificates = certificates_of(fetch(url), url)
    except Refusal as error:
        sys.exit(str(error))
    for number, certificate in enumerate(certificates):
        print(f"subject:            {pem.name(certificate)}")
        print(f"expires:            {certificate.not_valid_after_utc:%Y-%m-%d}")
        print(f"SHA-256:            {pem.sha256(certificate)}")
        print(f"SHA-256 of its key: {pem.key_sha256(certificate)}")
        if problem := pem.ca_problem(pem.text(certificate)):
            print(f"NOT USABLE:         {problem}")
        print(f"pulumi config set --path 'msr-cache:msr.ca.sha256[{number}]' {pem.sha256(certificate)}")
    print("Nobody has checked who answered: compare with what MSR's administrator says before you pin it.")
