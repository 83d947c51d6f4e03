"""The interface of a fault method, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """The result of a method's trials.

    `failures` are pairs: the command that repeats the trial, and why it failed. `skipped` says why the method could not
    run here and what to install; then nothing was tried.
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

    `run(trials, seed, only)` makes `trials` trials, or only the one that `only` names. Every random choice of a
    trial comes from `random.Random(f"{seed} {trial}")`, so that its name and the seed repeat it.
    """

    name: str  # as typed
    title: str  # as in the table
    short: int  # trials in `make test`
    full: int  # trials in `make campaign`
    shows: str  # what must hold
    run: Callable[[int, int, str], Outcome]


def outcome(method: str, seed: int, ended: Sequence[tuple[str, str]]) -> Outcome:
    """The outcome of trials, given as (name, reason for the failure or "")."""
    failures = tuple((repeat(method, seed, trial), why) for trial, why in ended if why)
    return Outcome(len(ended), len(ended) - len(failures), failures)


def repeat(method: str, seed: int, trial: str) -> str:
    """The command that repeats one trial."""
    return f"python -m tests.faults {method} --seed {seed} --only '{trial}'"
