"""Tasks that gave no result because their worker died or they exceeded the time limit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskFailure:
    """A task without a result, and the reason for the user."""

    reason: str


def died(times: int) -> TaskFailure:
    """The failure of a task on which `times` workers died, two of them while nothing else was running."""
    return TaskFailure(
        f"{times} workers died while running it, two of them with nothing else running, likely because it needs more "
        "memory than a worker has; expected enough for one input; use fewer --workers or a larger machine and run again"
    )


def timed_out(seconds: float) -> TaskFailure:
    """The failure of a task that exceeded the limit of `seconds`."""
    return TaskFailure(
        f"not finished after {seconds:g} s; expected it to finish; check the file, or allow more time "
        "(--scan-timeout, --clip-timeout)"
    )
