"""A certificate authority that lives as long as it takes to issue one server certificate."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Issued:
    """What `issue` made, as PEM. The CA's key is not kept: a new server certificate comes with a new CA."""

    ca: str
    certificate: str
    key: str

    def write(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "ca.pem").write_text(self.ca)
        (folder / "server.pem").write_text(self.certificate)
        key = folder / "server.key"
        key.touch(mode=0o600)
        key.write_text(self.key)


def issue(ca_name: str, *, address: str, dns_name: str, days: int = 365) -> Issued:
    """Issue a server certificate for `address` and `dns_name`, valid for `days`, by a CA made for it."""
    ca = trustme.CA(organization_name=ca_name)
    end = datetime.now(UTC) + timedelta(days=days)
    server = ca.issue_cert(dns_name, address, common_name=dns_name, not_after=end)
    chain = "".join(part.bytes().decode() for part in server.cert_chain_pems)
    return Issued(ca.cert_pem.bytes().decode(), chain, server.private_key_pem.bytes().decode())
