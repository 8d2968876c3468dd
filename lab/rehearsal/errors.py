"""What the engine tells its operator, in full and without a traceback."""

from __future__ import annotations

from typing import Any

from lab.errors import LabError


class EngineError(LabError):
    """Something that ends the run."""


class StepError(LabError):
    """What went wrong with one resource, a text for each problem; what does not depend on it goes on."""


class InitError(StepError):
    """A resource was changed and then failed: `outputs` is what it is now, and the next run has to look at it again."""

    def __init__(self, reason: str, outputs: dict[str, Any]) -> None:
        super().__init__(reason)
        self.outputs = outputs
