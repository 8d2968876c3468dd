"""A docker context, read as docker's CLI does: pulumi-docker heeds neither DOCKER_CONFIG nor a context's TLS files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from msr_cache.refusal import Refusal

_AT = "msr-cache:swarm.context"


def endpoint(name: str) -> tuple[str, str | None]:
    """Return the manager's address, and the folder with ca.pem, cert.pem and key.pem if the context has one."""
    if name == "default":
        raise Refusal(
            f"{_AT}: found default, which depends on DOCKER_HOST, expected a context of a fixed address: set "
            "msr-cache:swarm.host instead, such as unix:///var/run/docker.sock"
        )
    contexts = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "contexts"
    id_ = hashlib.sha256(name.encode()).hexdigest()  # docker/cli, cli/context/store
    try:
        host = json.loads((contexts / "meta" / id_ / "meta.json").read_bytes())["Endpoints"]["docker"]["Host"]
    except OSError:
        raise Refusal(f"{_AT}: found {name!r}, expected a context that `docker context ls` lists") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refusal(f"{_AT}: found {name!r}, whose file is damaged: check docker context inspect {name}") from None
    folder = contexts / "tls" / id_ / "docker"
    if not str(host).startswith("tcp://") or not folder.is_dir():
        return str(host), None
    if missing := [file for file in ("ca.pem", "cert.pem", "key.pem") if not (folder / file).is_file()]:
        raise Refusal(
            f"{_AT}: found no {', '.join(missing)} in {folder}, expected all three files of a TLS client: create the "
            "context again with --docker host=...,ca=...,cert=...,key=..."
        )
    return str(host), str(folder)
