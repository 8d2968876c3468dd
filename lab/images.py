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


def push_cache_images(registry: Registry) -> None:
    """Push each version of the cache."""
    base = subprocess.run([_SCRIPTS / "base.sh"], capture_output=True, check=True).stdout
    layers = [base, tar({"start.sh": (0o755, (_SCRIPTS / "start.sh").read_bytes())})]
    variables = {SLOW_TAG: "START_AFTER=3", STUBBORN_TAG: "IGNORE_TERM=1", CRASH_TAG: "BROKEN=1"}
    for tag in (CACHE_TAG, OTHER_TAG, SLOW_TAG, STUBBORN_TAG, CRASH_TAG):
        environment = ["PATH=/usr/bin:/bin", variables.get(tag, "START_AFTER=0")]
        registry.push(CACHE_REPOSITORY, tag, layers, {"Env": environment, "Labels": {"version": tag}})


def push_app_image(registry: Registry) -> None:
    """Push what clients pull."""
    noise = random.Random(APP_REPOSITORY)  # noqa: S311 - the same image on every machine, and one that no gzip shrinks
    layers = [tar({f"data/{number}": (0o644, noise.randbytes(1 << 20))}) for number in range(3)]
    registry.push(APP_REPOSITORY, APP_TAG, layers, {"Cmd": ["/data/0"]})
