"""The images of the site: the cache (two versions; one slow, one stubborn, one broken), and what clients pull."""

import random
import subprocess
from pathlib import Path

from lab.registry import Registry, tar

CACHE_REPOSITORY = "mirantis/dtr-content-cache"
CACHE_TAG, OTHER_TAG, SLOW_TAG, STUBBORN_TAG, CRASH_TAG = "2.9.0", "2.9.1", "slow", "stubborn", "crash"
LAST_TAG = CRASH_TAG  # the one pushed last: where it is, all are
APP_REPOSITORY, APP_TAG = "library/app", "1"

_SCRIPTS = Path(__file__).parent / "cache_image"
_APP_LAYERS = 3
_MIB = 1 << 20


def push_cache_images(registry: Registry) -> None:
    """Push each version of the cache."""
    base = _base_layer()
    for tag in (CACHE_TAG, OTHER_TAG, SLOW_TAG, STUBBORN_TAG, CRASH_TAG):
        script = _SCRIPTS / ("crash.sh" if tag == CRASH_TAG else "start.sh")
        layers = [base, tar({"start.sh": (0o755, script.read_bytes())})]
        variables = {SLOW_TAG: "START_AFTER=3", STUBBORN_TAG: "IGNORE_TERM=1"}
        environment = ["PATH=/usr/bin:/bin", variables.get(tag, "START_AFTER=0")]
        registry.push(CACHE_REPOSITORY, tag, layers, {"Env": environment, "Labels": {"version": tag}})


def push_app_image(registry: Registry) -> None:
    """Push what clients pull."""
    noise = random.Random(APP_REPOSITORY)  # noqa: S311 - the same image on every machine, and one that no gzip shrinks
    layers = [tar({f"data/{number}": (0o644, noise.randbytes(_MIB))}) for number in range(_APP_LAYERS)]
    registry.push(APP_REPOSITORY, APP_TAG, layers, {"Cmd": ["/data/0"]})


def _base_layer() -> bytes:
    """Just what a shell script needs to start the registry: no package manager, no certificates."""
    files = {name: (0o755, Path(f"/{name}").read_bytes()) for name in ("usr/bin/docker-registry", "usr/bin/busybox")}
    for library in _libraries(Path("/usr/bin/docker-registry")):
        files[str(library).lstrip("/")] = (0o755, library.read_bytes())
    tools = subprocess.run(["/usr/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    return tar(
        files,
        folders=["bin", "etc", "etc/ssl", "etc/ssl/certs", "tmp", "var", "var/lib", "var/lib/registry"],
        links={f"bin/{tool}": "/usr/bin/busybox" for tool in tools if tool != "busybox"},
    )


def _libraries(program: Path) -> list[Path]:
    lines = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(word) for line in lines for word in line.split() if word.startswith("/")]
