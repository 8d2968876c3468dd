"""The error that an operator sees."""


class Refusal(Exception):  # noqa: N818 - the operator reads the word
    """The program refuses or fails to do something; its text tells an operator all that is needed."""
