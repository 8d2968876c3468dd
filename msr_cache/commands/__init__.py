"""The commands of `python -m msr_cache`."""
