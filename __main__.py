"""Entry point of `pulumi up`: an MSR content cache for each entry of msr-cache:caches."""

import gc

import pulumi
from pulumi.runtime.config import CONFIG

from msr_cache.stack import declare, end_quietly_when_interrupted

# What a run makes stays to its end: searching it for garbage takes half of a large stack's time.
gc.set_threshold(200_000)
end_quietly_when_interrupted()
pulumi.run(lambda: declare(CONFIG.get()))
