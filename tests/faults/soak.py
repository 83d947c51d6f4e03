"""A long preprocessing run and a long training: their memory stays constant.

python -m tests.faults.soak FOLDER     only the training, as the method starts it
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.faults import world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import ROOT, SETTINGS

SAMPLES, EPOCHS = 5000, 1000
MIB_PER_100_SAMPLES = 1.0
WARM_UP = 0.4  # share of a run before its memory is measured
MEASURING_SECONDS = 0.25  # between two measurements
MIN_MEASUREMENTS = 20


def run(trials: int, seed: int, only: str) -> Outcome:
    if not sys.platform.startswith("linux"):
        return Outcome(0, 0, skipped="it reads the memory from /proc; run it on Linux")
    jobs = {"preprocess": _preprocess, "train": _train}
    results = []
    for name in [only] if only else list(jobs) * trials:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            results.append((name, jobs[name](Path(folder))))
    return outcome(METHOD.name, seed, results)


def _preprocess(folder: Path) -> str:
    """Preprocess `SAMPLES` scans in one process; they are links to five different ones."""
    world.write_scans(folder / world.SCANS, count=5)
    scans = sorted((folder / world.SCANS).iterdir())
    for number in range(len(scans) + 1, SAMPLES + 1):
        os.link(scans[number % len(scans)], scans[0].with_name(f"S{number:05d}.nii.gz"))
    words = ["cli.py", "preprocess", "ct", folder / world.SCANS, folder / world.CT, *world.SIZE]
    return _check_memory(words, _count_lines(folder / world.CT / "ledger" / "entries.jsonl"), SAMPLES)


def _train(folder: Path) -> str:
    """Train the small network for `EPOCHS` epochs of three samples."""
    words = ["-m", "tests.faults.soak", folder]
    return _check_memory(words, _count_lines(folder / "history.csv", samples_per_line=3), EPOCHS * 3)


def _count_lines(path: Path, samples_per_line: int = 1) -> Callable[[], int]:
    """A function that returns the number of samples in a file that a process appends to."""

    def count() -> int:
        with suppress(OSError):
            return samples_per_line * path.read_bytes().count(b"\n")
        return 0

    return count


def _check_memory(words: list[object], progress: Callable[[], int], samples: int) -> str:
    """Run Python with `words`; return the reason for a failure, "" if its memory is constant.

    `progress` returns the number of samples so far, of `samples` in total.
    """
    import psutil

    measured: list[tuple[int, float]] = []
    with subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, env=os.environ | SETTINGS, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None:
            with suppress(psutil.Error):
                measured.append((progress(), psutil.Process(process.pid).memory_info().rss / 2**20))
            time.sleep(MEASURING_SECONDS)
        errors = process.communicate()[1]
    if process.returncode:
        return f"exit code {process.returncode}: {errors[-2000:]}"
    if progress() < samples:
        return f"{progress()} samples instead of {samples}"
    late = np.array([(count, memory) for count, memory in measured if WARM_UP * samples < count < samples])
    if len(late) < MIN_MEASUREMENTS:
        return f"the run was too short: {len(late)} measurements of memory, {MIN_MEASUREMENTS} are needed"
    slope = 100 * np.polyfit(late[:, 0], late[:, 1], 1)[0]
    job = words[1] if words[0] == "cli.py" else "train"
    print(f"  {job}: {slope:+.3f} MiB per 100 samples, {late[-1, 1]:.0f} MiB at the end")
    return "" if slope < MIB_PER_100_SAMPLES else f"memory grows by {slope:.2f} MiB per 100 samples"


def _run_training(folder: Path) -> None:
    from trainer import backend

    backend.start()
    from cache import open_cache
    from cache.progress import Callback
    from trainer.config import PRETRAIN
    from trainer.data.stream import subset
    from trainer.model.viptt_net import build_model, with_rescaling
    from trainer.training.epoch import TrainingData
    from trainer.training.fit import compile_for, fit

    world.write_clips(folder / world.CLIPS)
    world.make(world.preprocess_video, folder)
    clips = open_cache(folder / world.VIDEO)
    config = PRETRAIN.replace(
        backbone="small", weights="none", freeze_backbone=False, optimizer="adam", epochs=EPOCHS, stop_patience=EPOCHS
    )
    full_model = build_model(config, clips.shape, len(clips.class_names))
    model = with_rescaling(full_model, clips.attributes.dtype)
    compile_for(model, config)
    data = TrainingData(subset(clips, clips.ids[:3]), subset(clips, clips.ids[3:]))
    fit(model, full_model, config, data, folder, Callback())


METHOD = Method(
    name="soak",
    title=f"{SAMPLES:,} samples, {EPOCHS:,} epochs",
    short=0,
    full=1,
    shows=f"`preprocess` of {SAMPLES:,} scans in one process, and {EPOCHS:,} epochs of training: the memory of "
    f"each grows by less than {MIB_PER_100_SAMPLES:.0f} MiB per 100 samples.",
    run=run,
)

if __name__ == "__main__":
    _run_training(Path(sys.argv[1]))
