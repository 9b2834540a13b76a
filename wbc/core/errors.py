"""The one kind of error a person using the pipeline can cause and correct."""


class UserError(Exception):
    """Something outside the code is wrong; the message is one line saying what, where and what to do about it."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split("\n"))  # names and values from outside may hold line ends


class WeightsError(UserError):
    """A model or its weights cannot be loaded; the message is one line that says what to do."""
