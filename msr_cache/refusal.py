"""The one kind of error that an operator sees."""


class Refusal(Exception):  # noqa: N818 - the operator reads the word
    """What the program will not do, or could not; its text is all that an operator needs."""
