"""Certificates and chains: facts and verdicts."""
