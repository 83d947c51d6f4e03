"""A bit is flipped, or a file cut, deleted or exchanged for another, in a cache, a cache of features and a run."""

import random
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.rot.damage import all_trials, damaged
from tests.faults.rot.folders import make_cache, make_features, make_run
from tests.faults.rot.readers import Facts, Reading, check_cache, check_run, read_cache, read_run

MAX_SECONDS = 5.0  # to read and check a damaged folder


class TookTooLong(BaseException):
    """A BaseException: `except Exception` in the tested code does not catch it."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder to damage, and the functions that make one in a new folder, read it, and check it for faults."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Reading]
    check: Callable[[Path], list[str]]


KINDS = {
    "cache": Kind(make_cache, read_cache, check_cache),
    "features": Kind(make_features, read_cache, check_cache),
    "run": Kind(make_run, read_run, check_run),
}


def run(trials: int, seed: int, only: str) -> Outcome:
    kinds = [only.partition(":")[0]] if only else list(KINDS)
    with tempfile.TemporaryDirectory(prefix="rot-", dir=world.scratch()) as folder:
        for kind in kinds:
            Path(folder, kind).mkdir()
        roots = {kind: KINDS[kind].make(Path(folder, kind)) for kind in kinds}
        expected = {kind: KINDS[kind].read(root).facts for kind, root in roots.items()}
        results = []
        for trial in [only] if only else choose(roots, trials, seed):
            kind = trial.partition(":")[0]
            with damaged(roots[kind], trial, seed):
                results.append((trial, judge(KINDS[kind], roots[kind], expected[kind])))
    return outcome(METHOD.name, seed, results)


def choose(roots: dict[str, Path], count: int, seed: int) -> list[str]:
    """`count` trials, equally many on each folder, if it has so many, and equally many of each fault and file."""
    chosen: list[str] = []
    for number, (kind, root) in enumerate(roots.items()):
        share = (count - len(chosen)) // (len(roots) - number)
        groups: dict[str, list[str]] = {}
        for trial in all_trials(kind, root):
            groups.setdefault(":".join(trial.split(":")[1:3]), []).append(trial)
        for name, group in groups.items():
            random.Random(f"{seed} {kind} {name}").shuffle(group)
        turns = list(groups.values())
        random.Random(f"{seed} {kind}").shuffle(turns)
        longest = max(map(len, turns))
        chosen += [group[turn] for turn in range(longest) for group in turns if turn < len(group)][:share]
    return chosen


def judge(kind: Kind, root: Path, expected: Facts) -> str:
    """The reason why a trial failed, "" if it did not.

    Each fact must be read correctly, or refused with an error and the fault reported by the check of the folder.
    """
    try:
        with time_limit():
            reading, faults = kind.read(root), kind.check(root)
    except TookTooLong:
        return f"it took more than {MAX_SECONDS:.0f} s"
    except Exception as error:  # noqa: BLE001 - any error that is not one of ours
        return f"{type(error).__name__}: {error}"
    wrong = [name for name, fact in reading.facts.items() if expected.get(name) != fact]
    if wrong:
        actual, right = reading.facts[wrong[0]], expected.get(wrong[0])
        return f"{wrong[0]} is read as {actual!r:.500} instead of {right!r:.500}"
    missing = [name for name in expected if name not in reading.facts]
    if missing and not faults:
        return f"{missing[0]} cannot be read, but the check of the folder reports nothing"
    if missing and "" not in reading.errors and missing[0] not in reading.errors:
        return f"{missing[0]} is missing without an error"
    return ""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TookTooLong after MAX_SECONDS; only possible in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _raise_took_too_long)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_took_too_long(*_: object) -> None:
    raise TookTooLong


METHOD = Method(
    name="rot",
    title="flipped bytes; cut, deleted and exchanged files",
    short=2000,
    full=200_000,
    shows="in a small cache, a cache of features and a run, one bit of any byte is flipped, or a file is cut "
    "there, deleted or exchanged for another; in weights, the first and last bytes and one in several "
    "hundred between. Ids, labels, groups, class names, arrays, predictions and settings are read "
    "unchanged or refused, and `verify` finds the fault.",
    run=run,
)
