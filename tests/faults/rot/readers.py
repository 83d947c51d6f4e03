"""Readers of caches and runs, and the checks that must report each fault."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

Facts = dict[str, Any]


@dataclass
class Reading:
    """The facts that readers returned, and the errors of those that refused, by the name of the fact."""

    facts: Facts = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def read_cache(root: Path) -> Reading:
    """The attributes and samples of a cache; the error "" if it cannot be opened."""
    from cache import open_cache
    from cache.errors import CacheError

    reading = Reading()
    try:
        cache = open_cache(root)
    except CacheError as error:
        return Reading(errors={"": str(error)})
    reading.facts["about"] = json.dumps([cache.kind, cache.shape, cache.class_names, cache.recipe])
    for name, label, group in zip(cache.ids, cache.labels.tolist(), cache.groups, strict=True):
        try:
            reading.facts[name] = (label, group, cache[name].tobytes())
        except CacheError as error:
            reading.errors[name] = str(error)
    return reading


def check_cache(root: Path) -> list[str]:
    """The faults that `verify` reports."""
    from cache.errors import CacheError
    from cache.verify import verify

    try:
        report = verify(root)
    except CacheError as error:
        return [str(error)]
    return [*report.damaged, *report.missing, *report.unreadable, *report.stale]


def read_run(root: Path) -> Reading:
    """The facts of a run, each from the file that it stands in."""
    from trainer.errors import TrainerError

    reading = Reading()
    for name, read in _run_readers().items():
        try:
            if (fact := read(root)) != "":
                reading.facts[name] = json.dumps(msgspec.to_builtins(fact))
            else:
                reading.errors[name] = "it is missing"
        except TrainerError as error:
            reading.errors[name] = str(error)
    return reading


def _run_readers() -> dict[str, Callable[[Path], Any]]:
    """The function that reads each file of a finished run, as the commands that use the run do."""
    from msgspec import structs

    from trainer.data.splits.split import split_of_run
    from trainer.experiments import table
    from trainer.runs import manifest
    from trainer.runs.run import read_run
    from trainer.runs.samples import read_samples

    def checked_digest(name: str) -> Callable[[Path], Any]:
        return lambda root: (manifest.check(root / name), _digest(root / name))[1]

    def predictions(root: Path) -> Any:
        predicted = table.read_result("", 0, root).predicted
        return [predicted.ids, predicted.class_names, predicted.labels.tolist(), predicted.probabilities.tolist()]

    return {
        "config": lambda root: read_run(root).to_json(),
        "split": lambda root: split_of_run(root).to_json(),
        "samples": lambda root: {name: structs.astuple(sample) for name, sample in read_samples(root).items()},
        "predictions": predictions,
        "seconds": lambda root: table.read_result("", 0, root).seconds,
        "model": checked_digest("model.keras"),
        "checkpoint": checked_digest("checkpoint.npz"),
        "metrics": checked_digest("metrics.json"),
        "history": checked_digest("history.csv"),
    }


def _digest(path: Path) -> str:
    """The digest of the file's content; "" if the file is missing, which any reader notices."""
    from cache.fingerprint import digest_files

    return digest_files([path]) if path.exists() else ""


def check_run(root: Path) -> list[str]:
    """The faults that the check of a run's manifest reports, and the missing files."""
    from trainer.errors import TrainerError
    from trainer.runs import folder as run

    try:
        run.check_files(root)
    except TrainerError as error:
        return [str(error)]
    return [name for name in run.CHECKED_FILES if not (root / name).exists()]
