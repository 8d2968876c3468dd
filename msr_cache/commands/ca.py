"""`python -m msr_cache ca <MSR's URL>`: shows MSR's CA and how to pin it; it trusts and changes nothing."""

from __future__ import annotations

import argparse
import sys

from msr_cache.config.field_types import https_origin
from msr_cache.resources.msr_ca import certificates_of, fetch
from msr_cache.x509 import pem


def main(arguments: list[str]) -> None:
    """Print the certificates for comparison with the fingerprint that MSR's administrator gives."""
    parser = argparse.ArgumentParser(prog="python -m msr_cache ca", description=__doc__)
    parser.add_argument("url", help="for example https://msr.example.com; add :port if it is not 443")
    try:
        url = https_origin(parser.parse_args(arguments).url)
    except ValueError as error:
        sys.exit(str(error))
    certificates = certificates_of(fetch(url), url)
    # Pulumi makes no map or list of another value that `ca` may have.
    pins = ["pulumi config rm --path 'msr-cache:msr.ca'"]
    for number, certificate in enumerate(certificates):
        print(f"subject:            {pem.name(certificate)}")
        print(f"expires:            {certificate.not_valid_after_utc:%Y-%m-%d}")
        print(f"SHA-256:            {pem.sha256(certificate)}")
        print(f"SHA-256 of its key: {pem.key_sha256(certificate)}")
        if problem := pem.ca_problem(pem.text(certificate)):
            print(f"NOT USABLE:         {problem}")
        pins.append(f"pulumi config set --path 'msr-cache:msr.ca.sha256[{number}]' {pem.sha256(certificate)}")
    print(*pins, sep="\n")
    print("Nothing proves that MSR sent this: compare it with MSR's administrator before you pin it.")
