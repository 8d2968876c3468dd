"""Entry point of `pulumi up`: an MSR content cache for each entry of msr-cache:caches."""

import pulumi
from pulumi.runtime.config import CONFIG

from msr_cache.stack import declare, end_quietly_when_interrupted

end_quietly_when_interrupted()
pulumi.run(lambda: declare(CONFIG.get()))
