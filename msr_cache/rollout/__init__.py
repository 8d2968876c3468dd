"""Trying, waiting, explaining: what happens around a change of a service."""
