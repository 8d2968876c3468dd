"""The speeds that are promised, measured as ratios in one run on the lab's kind of site (`make bench`)."""

import signal

# In the background, a shell lets all that it starts ignore interrupts: Pulumi waits 5 s for each plugin then.
signal.signal(signal.SIGINT, signal.default_int_handler)
