"""What can go wrong on the way from a source file to the cache."""


class PipelineError(Exception):
    """A run cannot start or go on; the message is one line for the user."""


class InvalidInput(PipelineError, ValueError):
    """One input cannot become a sample. It is quarantined with this reason, and the run goes on.

    The three parts answer what was given, what was expected instead and what the user can do.
    """

    def __init__(self, given: str, expected: str, remedy: str) -> None:
        super().__init__(given, expected, remedy)
        self.given, self.expected, self.remedy = given, expected, remedy

    def __str__(self) -> str:
        return f"{self.given}; expected {self.expected}; {self.remedy}"


class Excluded(PipelineError):
    """One input is sound and left out by request; the message is the reason."""
