"""The interface of a fault method, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """The result of a method's trials.

    `failures` are pairs: the command that repeats the trial, and the reason for the failure. `skipped` is empty, or
    says why the method cannot run here and what to install; nothing was tried in that case.
    """

    tried: int
    survived: int
    failures: tuple[tuple[str, str], ...] = ()
    skipped: str = ""

    @property
    def failed(self) -> int:
        return self.tried - self.survived


@dataclass(frozen=True)
class Method:
    """One kind of fault.

    `run(trials, seed, only)` makes `trials` trials, or the single trial named `only` if that is not empty. Every random
    choice of a trial comes from `random.Random(f"{seed} {trial}")`, so the seed and the trial's name repeat it.
    """

    name: str  # on the command line
    title: str  # in the table
    short: int  # trials in `make test`
    full: int  # trials in `make campaign`
    shows: str  # the property that the method tests
    run: Callable[[int, int, str], Outcome]


def outcome(method: str, seed: int, results: Sequence[tuple[str, str]]) -> Outcome:
    """The outcome of trials, from pairs of a trial's name and the reason for its failure, "" if it survived."""
    failures = tuple((repeat_command(method, seed, trial), reason) for trial, reason in results if reason)
    return Outcome(len(results), len(results) - len(failures), failures)


def repeat_command(method: str, seed: int, trial: str) -> str:
    """The command that repeats one trial."""
    return f"python -m tests.faults {method} --seed {seed} --only '{trial}'"
