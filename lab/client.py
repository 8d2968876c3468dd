"""Pulls an image with skopeo, a client of its own making: it checks TLS and each blob's digest itself."""

import hashlib
import json
import subprocess
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import SplitResult, urlsplit

from lab.errors import LabError

# In a mount namespace of its own skopeo finds a name where this machine's resolver knows none.
_WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'


class PullError(LabError):
    """Why a pull failed, in skopeo's words."""


@dataclass(frozen=True)
class PullResult:
    """`blobs`: the length of each blob (the config and the layers) by its digest."""

    manifest_digest: str
    blobs: dict[str, int]
    seconds: float


def pull(  # noqa: PLR0913 - what `docker pull` knows of as well
    url: str,
    repository: str,
    reference: str,
    ca_pem: str,
    *,
    address: str | None = None,
    user: tuple[str, str] | None = None,
) -> PullResult:
    """Pull `repository:reference`, or `@reference` when it is a digest, from the registry at `url`.

    Trusts only `ca_pem`. `address` is where the host of `url` is reached if its name does not resolve here: of several,
    with spaces in between, the first that answers. `user` is a name and a password or token.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = _command(folder, urlsplit(url), f"{repository}{'@' if ':' in reference else ':'}{reference}", address)
        (folder / "certs").mkdir()
        (folder / "certs" / "ca.crt").write_text(ca_pem)
        # As a file: other processes may read what a command is given.
        login = {urlsplit(url).netloc: {"auth": b64encode(":".join(user).encode()).decode()}} if user else {}
        (folder / "auth.json").write_text(json.dumps({"auths": login}))
        # No system certificates and no proxy: the registry is on this machine.
        paths = {"PATH": "/usr/bin:/bin", "SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": f"{folder}/certs"}
        started = time.monotonic()
        done = subprocess.run(command, env=paths, capture_output=True, text=True, check=False, timeout=120)
        seconds = time.monotonic() - started
        if done.returncode:
            raise PullError(done.stderr.strip())
        manifest = (folder / "image" / "manifest.json").read_bytes()
    content = json.loads(manifest)
    blobs = {blob["digest"]: blob["size"] for blob in [content["config"], *content["layers"]]}
    return PullResult(f"sha256:{hashlib.sha256(manifest).hexdigest()}", blobs, seconds)


def _command(folder: Path, url: SplitResult, image: str, address: str | None) -> list[str | Path]:
    """Return the command that copies `image` into `folder`, with the files there that `pull` writes."""
    (folder / "hosts").write_text("".join(f"{each} {url.hostname}\n" for each in (address or "").split()))
    return [
        *(("unshare", "--mount", "sh", "-c", _WITH_HOSTS, folder / "hosts") if address else ()),
        *("skopeo", "copy", "--quiet", "--authfile", folder / "auth.json", "--src-cert-dir", folder / "certs"),
        f"docker://{url.netloc}/{image}",
        f"dir:{folder}/image",
    ]
