"""The one kind of error that the lab tells its operator about, in one line."""


class LabError(Exception):
    """Something that the operator can understand and repair; never shown with a traceback."""
