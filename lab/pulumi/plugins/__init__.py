"""Stand-ins for the docker and tls plugins, where these can't be installed: for the lab's swarm, and strict."""

from pathlib import Path

LAUNCHERS = Path(__file__).parent / "launchers"
"""Programs that Pulumi takes for the plugins where this folder is on PATH."""
