"""A bit flips, a file is cut, deleted or exchanged for another in a cache, a cache of features and a run."""

import json
import os
import random
import signal
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from tests.faults import formats, world
from tests.faults.method import Method, Outcome, repeat

SECONDS = 5.0  # that looking at a damaged folder may take
LARGE, ENDS, STEPS = 1 << 20, 2048, 5000  # of a larger file only both ends are tried whole, and so many bytes between
SIZE = ("--depth", 2, "--height", 3, "--width", 4, "--workers", 0, "--quiet")

Facts = dict[str, Any]


class TookTooLong(BaseException):
    """Nothing may catch it."""


@dataclass
class Found:
    """What readers say of a folder: facts that they return, and by what they refused to read why."""

    facts: Facts = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A folder to damage: how it is made in a new folder, read, and checked as a whole (the faults that are named)."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Found]
    check: Callable[[Path], list[str]]


# -- the folders and their readers -------------------------------------------------------------------------------------


def make_cache(folder: Path) -> Path:
    import cli

    world.write_scans(folder / world.SCANS, count=2)
    words = ("preprocess", "ct", folder / world.SCANS, folder / world.CT, "--labels", folder / world.LABELS, *SIZE)
    cli.main.main([str(word) for word in words], standalone_mode=False)
    return folder / world.CT


def make_features(folder: Path) -> Path:
    import numpy as np

    from cache import open_cache
    from cache.feature_writer import source_of, writing_features
    from cache.features import feature_attributes

    volumes = open_cache(make_cache(folder))
    attributes = feature_attributes(2, 3, volumes.class_names, "means of columns", volumes=volumes)
    with writing_features(folder / world.FEATURES, attributes, volumes.ids) as features:
        for name in volumes.ids:
            entry = volumes.entry(name)
            values = np.asarray(volumes[name].mean(2))
            features.put(name, values, entry.label, entry.group, source_of(volumes, name))
    return folder / world.FEATURES


def make_run(folder: Path) -> Path:
    """The run of an earlier version that is kept, listed in a manifest as one of this version is."""
    from trainer.runs import folder as run

    unpack(folder)
    root = next(path.parent for path in sorted(folder.rglob("validation.csv")))
    run.finish(root)
    return root


def unpack(folder: Path) -> None:
    """Extract the archive of the last earlier version into `folder`."""
    with tarfile.open(formats.archives()[-1]) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def read_cache(root: Path) -> Found:
    from cache import open_cache
    from cache.errors import CacheError

    found = Found()
    try:
        opened = open_cache(root)
    except CacheError as error:
        return Found(refused={"": str(error)})
    found.facts["about"] = json.dumps([opened.kind, opened.shape, opened.class_names, opened.recipe])
    for name, label, group in zip(opened.ids, opened.labels.tolist(), opened.groups, strict=True):
        try:
            found.facts[name] = (label, group, opened[name].tobytes())
        except CacheError as error:
            found.refused[name] = str(error)
    return found


def check_cache(root: Path) -> list[str]:
    from cache.errors import CacheError
    from cache.verify import verify

    try:
        report = verify(root)
    except CacheError as error:
        return [str(error)]
    return [*report.damaged, *report.missing, *report.unreadable, *report.stale]


def run_readers() -> dict[str, Callable[[Path], Any]]:
    """How each file of a finished run is read by the commands that go on from it."""
    from msgspec import structs

    from trainer.data.splits.split import split_of_run
    from trainer.experiments import table
    from trainer.runs import manifest
    from trainer.runs.run import read_run
    from trainer.runs.samples import read_samples

    def weights(name: str) -> Callable[[Path], Any]:
        return lambda root: (manifest.check(root / name), digest(root / name))[1]

    def predictions(root: Path) -> Any:
        found = table.read_result("", 0, root).predicted
        return [found.ids, found.class_names, found.labels.tolist(), found.probabilities.tolist()]

    return {
        "config": lambda root: read_run(root).to_json(),
        "split": lambda root: split_of_run(root).to_json(),
        "samples": lambda root: {name: structs.astuple(one) for name, one in read_samples(root).items()},
        "predictions": predictions,
        "seconds": lambda root: table.read_result("", 0, root).seconds,
        "model": weights("model.keras"),
        "checkpoint": weights("checkpoint.npz"),
        "metrics": weights("metrics.json"),
        "history": weights("history.csv"),
    }


def digest(path: Path) -> str:
    """That of the file's bytes; "" where there is none, which everybody notices."""
    from cache.fingerprint import digest_files

    return digest_files([path]) if path.exists() else ""


def read_run(root: Path) -> Found:
    from trainer.errors import TrainerError

    found = Found()
    for name, read in run_readers().items():
        try:
            if (fact := read(root)) != "":
                found.facts[name] = json.dumps(msgspec.to_builtins(fact))
            else:
                found.refused[name] = "it is missing"
        except TrainerError as error:
            found.refused[name] = str(error)
    return found


def check_run(root: Path) -> list[str]:
    from trainer.errors import TrainerError
    from trainer.runs import folder as run

    try:
        run.check_files(root)
    except TrainerError as error:
        return [str(error)]
    return [name for name in run.CHECKED_FILES if not (root / name).exists()]


KINDS = {
    "cache": Kind(make_cache, read_cache, check_cache),
    "features": Kind(make_features, read_cache, check_cache),
    "run": Kind(make_run, read_run, check_run),
}


# -- the trials --------------------------------------------------------------------------------------------------------


def every_trial(kind: str, root: Path) -> Iterator[str]:
    """The names of all trials on a folder: KIND:FAULT:FILE:PLACE."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    for name in files:
        yield f"{kind}:delete:{name}:0"
        size = (root / name).stat().st_size
        for place in places(size):
            yield f"{kind}:flip:{name}:{place}"
            yield f"{kind}:cut:{name}:{place}"
    for one, other in combinations(files, 2):
        yield f"{kind}:swap:{one}:{other}"


def places(size: int) -> Iterator[int]:
    """Every byte of a file; of a large one those of both ends, and some between."""
    if size <= LARGE:
        yield from range(size)
        return
    yield from range(ENDS)
    yield from range(ENDS, size - ENDS, size // STEPS)
    yield from range(size - ENDS, size)


def choose(roots: dict[str, Path], count: int, seed: int) -> list[str]:
    """`count` trials, as many on each folder as there are, and on each as many of a file as of another."""
    chosen: list[str] = []
    for number, (kind, root) in enumerate(roots.items()):
        share = (count - len(chosen)) // (len(roots) - number)
        groups: dict[str, list[str]] = {}
        for trial in every_trial(kind, root):
            groups.setdefault(":".join(trial.split(":")[1:3]), []).append(trial)
        for name, group in groups.items():
            random.Random(f"{seed} {kind} {name}").shuffle(group)
        turns = list(groups.values())
        random.Random(f"{seed} {kind}").shuffle(turns)
        longest = max(map(len, turns))
        chosen += [group[turn] for turn in range(longest) for group in turns if turn < len(group)][:share]
    return chosen


@contextmanager
def damaged(root: Path, trial: str, seed: int) -> Iterator[None]:
    """Apply the damage of `trial` to a folder, and undo it."""
    _, fault, name, place = trial.split(":")
    path, aside = root / name, root.parent / "aside"
    data = path.read_bytes()
    if fault == "swap":
        _swap(path, root / place, aside)
    elif fault == "delete":
        path.rename(aside)
    elif fault == "cut":
        os.truncate(path, int(place))
    else:
        _flip(path, int(place), 1 << random.Random(f"{seed} {trial}").randrange(8))
    try:
        yield
    finally:
        if fault == "swap":
            _swap(path, root / place, aside)
        elif fault == "delete":
            aside.rename(path)
        else:
            path.write_bytes(data)


def _swap(one: Path, other: Path, aside: Path) -> None:
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def _flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


@contextmanager
def bounded() -> Iterator[None]:
    """Raise TookTooLong after SECONDS, in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_long(*_: object) -> None:
    raise TookTooLong


def judge(kind: Kind, root: Path, truth: Facts) -> str:
    """Why a damaged folder was not met as it must be, "" where it was: each fact is right or refused, and what is
    refused is named by the check of the whole."""
    try:
        with bounded():
            found, faults = kind.read(root), kind.check(root)
    except TookTooLong:
        return f"it took more than {SECONDS:.0f} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not one of ours
        return f"{type(error).__name__}: {error}"
    wrong = [name for name, fact in found.facts.items() if truth.get(name) != fact]
    if wrong:
        return f"{wrong[0]} is read as {found.facts[wrong[0]]!r:.500}, and was {truth.get(wrong[0])!r:.500}"
    missing = [name for name in truth if name not in found.facts]
    if missing and not faults:
        return f"{missing[0]} cannot be read, but the check of the folder reports nothing"
    if missing and "" not in found.refused and missing[0] not in found.refused:
        return f"{missing[0]} is missing without an error"
    return ""


def run(trials: int, seed: int, only: str) -> Outcome:
    kinds = [only.partition(":")[0]] if only else list(KINDS)
    with tempfile.TemporaryDirectory(prefix="rot-", dir=world.scratch()) as folder:
        roots = {kind: KINDS[kind].make(Path(folder, kind)) for kind in kinds if not Path(folder, kind).mkdir()}
        truths = {kind: KINDS[kind].read(root).facts for kind, root in roots.items()}
        tried, failures = 0, []
        for trial in [only] if only else choose(roots, trials, seed):
            kind = trial.partition(":")[0]
            with damaged(roots[kind], trial, seed):
                why = judge(KINDS[kind], roots[kind], truths[kind])
            tried += 1
            if why:
                failures.append((repeat(METHOD.name, seed, trial), why))
    return Outcome(tried, tried - len(failures), tuple(failures))


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
