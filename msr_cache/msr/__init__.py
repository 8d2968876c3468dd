"""MSR's API, its registry, and a cache as its clients see it."""
