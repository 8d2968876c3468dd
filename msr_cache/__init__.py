"""Puts an MSR content cache on a Docker swarm, and keeps it there, as tracked Pulumi resources."""
