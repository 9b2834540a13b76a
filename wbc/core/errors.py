"""The base class of errors that a user can correct, and the error of model files."""


class UserError(Exception):
    """An error outside the code. Its message is one line that says what is wrong, where, and what to do about it."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split("\n"))  # file names and values may contain line breaks


class WeightsError(UserError):
    """Weights or a model file are missing or do not fit."""
