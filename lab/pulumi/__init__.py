"""Pulumi on a machine that reaches package registries only: the CLI built from its Go module, and what it lacks."""
