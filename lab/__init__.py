"""A whole site on one machine: a swarm, a stand-in for MSR and an image for the cache, for `make up` and the tests."""
