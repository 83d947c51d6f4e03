"""Changed files of all formats that commands read: scans, clips, labels CSVs, and files of caches and runs.

A trial takes a valid file from a small corpus, changes it in a few places, and reads it as the commands do. The file
may be read, or refused with one of our errors. Any other error, a crash of a decoder, or too much time or memory is a
failure. Trials run in forked processes; each process runs trials until one of them kills it.
"""

import json
import os
import random
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.faults import world
from tests.faults.fuzz.limits import CPU_SECONDS, fork, limit_memory, time_limit
from tests.faults.fuzz.target import Target
from tests.faults.fuzz.targets import FORMATS
from tests.faults.method import Method, Outcome, repeat_command
from tests.faults.server import Server, in_parallel
from tests.faults.world import HEAVY, LIGHT

MAX_FILE_BYTES = 1 << 21  # of a changed file
BATCH = 50  # trials in one request to the server

targets: dict[str, Target] = {}
folders = {"server": Path()}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    chosen = {only.partition(":")[0]: [only]} if only else choose(trials, seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=world.scratch()) as folder:

        def work(part: str) -> list[tuple[str, str]]:
            names = [name for name in chosen if FORMATS[name].part == part]
            with closing(Server(__name__, Path(folder) / part, ",".join([part, *names]))) as server:
                batches = [
                    f"{seed} {' '.join(chosen[name][start : start + BATCH])}"
                    for name in names
                    for start in range(0, len(chosen[name]), BATCH)
                ]
                return [tuple(pair) for _, failed in server.run(batches) for pair in json.loads(failed)]

        parts = [part for part in (LIGHT, HEAVY) if any(FORMATS[name].part == part for name in chosen)]
        failures = [pair for part_failures in in_parallel(parts, work) for pair in part_failures]
    tried = sum(map(len, chosen.values()))
    repeated = tuple((repeat_command(METHOD.name, seed, trial), reason) for trial, reason in failures)
    return Outcome(tried, tried - len(failures), repeated)


def choose(trials: int, seed: int) -> dict[str, list[str]]:
    """Format → its trials; the first ones are the corpus itself. The short form has no formats of the heavy part."""
    names = [name for name in FORMATS if trials > METHOD.short or FORMATS[name].part == LIGHT]
    total = sum(FORMATS[name].weight for name in names)
    counts = {name: max(1, trials * FORMATS[name].weight // total) for name in names}
    return {name: [f"{name}:{number}" for number in range(count)] for name, count in counts.items()}


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> str:
    kind, *names = part.split(",")
    world.load_everything(kind)
    folder.mkdir(parents=True)
    folders["server"] = folder
    targets.update({name: FORMATS[name].make_target(folder / name) for name in names})
    return ""


def trial(batch: str) -> str:
    """Run the trials that `batch` names after the seed; return those that failed and the reasons, as JSON."""
    seed, *names = batch.split(" ")
    failures: list[tuple[str, str]] = []
    while names:
        reason, results = fork(lambda descriptor, rest=tuple(names): _run_trials(rest, seed, descriptor))
        failures += [(name, failure) for name, failure in results if failure]
        names = names[len(results) :]
        if names and reason:
            failures.append((names.pop(0), reason))
    return json.dumps(failures)


def _run_trials(names: Sequence[str], seed: str, descriptor: int) -> None:
    """Write a line with the name of each trial and the reason for its failure, or ""."""
    limit_memory()
    for name in names:
        with time_limit():
            reason = run_trial(name, seed)
        os.write(descriptor, json.dumps([name, reason]).encode() + b"\n")


def run_trial(name: str, seed: str) -> str:
    """The reason why a trial failed, "" if it did not."""
    from cache.errors import CacheError
    from pipeline.errors import PipelineError
    from trainer.errors import TrainerError

    format_name, number = name.split(":")
    target = targets[format_name]
    unchanged = int(number) < len(target.corpus)
    path = folders["server"] / f"{format_name}-file{target.suffix}"
    path.write_bytes(changed_file(name, seed, target)[:MAX_FILE_BYTES])
    try:
        target.read(path)
    except (CacheError, PipelineError, TrainerError) as error:
        return f"a valid file is refused: {error}" if unchanged else ""
    except Exception as error:  # noqa: BLE001 - users would see any other error as a traceback
        return f"{type(error).__name__}: {error}"
    return ""


def changed_file(name: str, seed: str, target: Target) -> bytes:
    """The content of the file of a trial."""
    number, rng = int(name.split(":")[1]), random.Random(f"{seed} {name}")
    if number < len(target.corpus):
        return target.corpus[number]
    return target.change(rng.choice(target.corpus), rng, target.corpus)


METHOD = Method(
    name="fuzz",
    title="changed input files of every format",
    short=200,
    full=60_000,
    shows=f"headers, fields, values and blocks of scans (NIfTI, plain and gzip), clips (AVI, MP4), label sheets, "
    f"ledgers, attributes, checkpoints, configurations and splits are changed in many ways. Each file is "
    f"read, or refused with one of our errors, within {CPU_SECONDS} s and 1 GB; no decoder crashes.",
    run=run,
)
