"""Entry point of `pulumi up`: an MSR content cache for each entry of msr-cache:caches."""

import pulumi
from pulumi.runtime.config import CONFIG

from msr_cache.short_lived import collect_no_garbage

collect_no_garbage()

# Only now, for it imports the most.
from msr_cache.stack import declare, end_quietly_when_interrupted, send_no_debug_messages  # noqa: E402

end_quietly_when_interrupted()
send_no_debug_messages()
pulumi.run(lambda: declare(CONFIG.get()))
