"""A preprocessing run and a training that last: their memory stays where it is.

python -m tests.faults.soak FOLDER     the training, as the method starts it
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
SETTLED = 0.4  # the share of a run after which its memory is looked at
PERIOD_SECONDS = 0.25


def run(trials: int, seed: int, only: str) -> Outcome:
    if not sys.platform.startswith("linux"):
        return Outcome(0, 0, skipped="memory is read from /proc; run it on Linux")
    parts = {"preprocess": _preprocess, "train": _train}
    ended = []
    for name in [only] if only else list(parts) * trials:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            ended.append((name, parts[name](Path(folder))))
    return outcome(METHOD.name, seed, ended)


def _preprocess(folder: Path) -> str:
    """`SAMPLES` scans in one process, five in turn."""
    world.write_scans(folder / world.SCANS, count=5)
    five = sorted((folder / world.SCANS).iterdir())
    for number in range(len(five) + 1, SAMPLES + 1):
        os.link(five[number % len(five)], five[0].with_name(f"S{number:05d}.nii.gz"))
    words = ["cli.py", "preprocess", "ct", folder / world.SCANS, folder / world.CT, *world.SIZE]
    return _grows(words, _lines(folder / world.CT / "ledger" / "entries.jsonl"), SAMPLES)


def _train(folder: Path) -> str:
    """`EPOCHS` epochs of the small network, three samples each."""
    words = ["-m", "tests.faults.soak", folder]
    return _grows(words, _lines(folder / "history.csv", each=3), EPOCHS * 3)


def _lines(path: Path, each: int = 1) -> Callable[[], int]:
    def count() -> int:
        with suppress(OSError):
            return each * path.read_bytes().count(b"\n")
        return 0

    return count


def _grows(words: list[object], done: Callable[[], int], samples: int) -> str:
    """Run Python with `words`; why its memory is not flat over the samples that are `done` by and by."""
    import psutil

    seen: list[tuple[int, float]] = []
    with subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, env=os.environ | SETTINGS, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None:
            with suppress(psutil.Error):
                seen.append((done(), psutil.Process(process.pid).memory_info().rss / 2**20))
            time.sleep(PERIOD_SECONDS)
        said = process.communicate()[1]
    if process.returncode:
        return f"it ended with {process.returncode}: {said[-2000:]}"
    if done() < samples:
        return f"{done()} samples instead of {samples}"
    late = np.array([(count, memory) for count, memory in seen if SETTLED * samples < count < samples])
    if len(late) < 20:
        return f"too quick to be watched: {len(late)} looks"
    slope = 100 * np.polyfit(late[:, 0], late[:, 1], 1)[0]
    what = words[1] if words[0] == "cli.py" else "train"
    print(f"  {what}: {slope:+.3f} MiB per 100 samples, {late[-1, 1]:.0f} MiB at its end")
    return "" if slope < MIB_PER_100_SAMPLES else f"memory grows by {slope:.2f} MiB per 100 samples"


def _be_training(folder: Path) -> None:
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
    world._make(world._preprocess_video, folder)
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
    _be_training(Path(sys.argv[1]))
