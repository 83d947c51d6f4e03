"""Errors of preprocessing: a run that cannot continue, an input that is invalid, an input that is left out."""


class PipelineError(Exception):
    """A run cannot start or continue; the message is one line for the user."""


class InvalidInput(PipelineError, ValueError):
    """One input cannot become a sample. It is quarantined with this reason, and the run continues.

    The three parts are the problem with the input, the expected input, and the remedy for the user.
    """

    def __init__(self, problem: str, expected: str, remedy: str) -> None:
        super().__init__(problem, expected, remedy)
        self.problem, self.expected, self.remedy = problem, expected, remedy

    def __str__(self) -> str:
        return f"{self.problem}; expected {self.expected}; {self.remedy}"


class Excluded(PipelineError):
    """One input is valid but left out by request; the message is the reason."""
