"""A run stopped at any time resumes to the same bits as an uninterrupted run, or on another backend to equal losses."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.networks import OPTIONS, SMALL, Killed, Recorder, make_clips, outcome, plain, training_data
from trainer.errors import TrainerError
from trainer.runs.files import PARTIAL
from trainer.runs.plan import Request
from trainer.training import checkpoint
from trainer.training.fit import fit
from trainer.training.train import train

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS = 2, 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("resume") / "clips.zarr")


def new_folder(path):
    path.mkdir()
    return path


# -- the loop with a very small network --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(clips):
    return training_data(clips)


def loop(data, folder, recorder=None):
    """Train like a new process, which has only the files that earlier ones left in `folder`."""
    model, full_model = plain()
    fit(model, full_model, SMALL.replace(epochs=EPOCHS), data, folder, recorder or Recorder(), 0)


@pytest.fixture(scope="module")
def expected_outcome(data, tmp_path_factory):
    """The outcome of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("expected_outcome")
    loop(data, folder)
    return outcome(folder)


@pytest.mark.parametrize("epoch", range(EPOCHS))
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(epoch, step, data, expected_outcome, tmp_path):
    def stop(current_epoch, finished):
        if (current_epoch, finished) == (epoch, step):
            raise Killed

    with pytest.raises(Killed):
        loop(data, tmp_path, Recorder(stop))
    resumed = Recorder()
    loop(data, tmp_path, resumed)
    assert outcome(tmp_path) == expected_outcome
    assert resumed.steps[0][:2] == (epoch, step)  # resumed after the last checkpoint


def test_a_run_stopped_after_every_step_ends_with_the_same_bits(data, expected_outcome, tmp_path):
    def stop(current_epoch, finished):
        if (current_epoch, finished) not in reached:
            reached.append((current_epoch, finished))
            raise Killed

    reached = []
    for _ in range(EPOCHS * STEPS):
        with pytest.raises(Killed):
            loop(data, tmp_path, Recorder(stop))
    loop(data, tmp_path)
    assert outcome(tmp_path) == expected_outcome
    assert reached == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]


def record_flushes(monkeypatch, killed_at=None):
    """Record flushes of files and folders, two per written file; raise `Killed` at flush number `killed_at`."""
    recorded = []

    def flush(_):
        if len(recorded) == killed_at:
            raise Killed
        recorded.append(None)

    monkeypatch.setattr(os, "fsync", flush)
    return recorded


def test_a_run_killed_before_or_after_any_rename_ends_with_the_same_bits(data, expected_outcome, tmp_path, monkeypatch):
    recorded = record_flushes(monkeypatch)
    loop(data, new_folder(tmp_path / "uninterrupted"))
    writes = len(recorded)
    assert writes >= 2 * (EPOCHS * (STEPS + 3) + 1)  # a checkpoint per step and epoch, two tables, a best model
    for number in range(writes):
        record_flushes(monkeypatch, number)
        folder = new_folder(tmp_path / str(number))
        with pytest.raises(Killed):
            loop(data, folder)
        record_flushes(monkeypatch)
        loop(data, folder)
        assert outcome(folder) == expected_outcome, f"killed at flush {number} of {writes}"


# -- complete runs of `train` ------------------------------------------------------------------------------------------


def trained(clips, run, resume=False, recorder=None, **options):
    return train(
        Request("pretrain", clips, run, OPTIONS | options, resume=resume, save_seconds=0), recorder or Recorder()
    )


@pytest.fixture(scope="module")
def uninterrupted(clips, tmp_path_factory):
    """An uninterrupted run; the folder "first" next to it is a copy after its first epoch."""

    def copy_first_epoch(row):
        if row["epoch"] == 1:
            shutil.copytree(run, run.with_name("first"))

    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    metrics = trained(clips, run, recorder=Recorder(epoch=copy_first_epoch))
    assert json.loads((run / "metrics.json").read_text()) == metrics
    return run


def test_a_run_stopped_in_a_step_and_then_before_its_checkpoint_ends_with_the_same_files(
    clips, uninterrupted, tmp_path, monkeypatch
):
    def stop(epoch, finished):
        if (epoch, finished) == (1, len(json.loads((run / "split.json").read_text())["train"]) // 2):
            raise KeyboardInterrupt

    def die_in_last_epoch(path, state, model):
        if state.epoch == 2:
            raise Killed
        save(path, state, model)

    run, save = tmp_path / "run", checkpoint.save
    with pytest.raises(KeyboardInterrupt):
        trained(clips, run, recorder=Recorder(stop))
    monkeypatch.setattr(checkpoint, "save", die_in_last_epoch)
    with pytest.raises(Killed):
        trained(clips, run, resume=True)
    assert not (run / "metrics.json").exists()
    monkeypatch.undo()
    (run / f"{PARTIAL}model.keras").write_bytes(b"half")  # as left by a process killed while writing
    trained(clips, run, resume=True)
    assert outcome(run) == outcome(uninterrupted)
    assert {path.name for path in run.iterdir()} == {path.name for path in uninterrupted.iterdir()}


def test_resuming_a_finished_run_restores_its_metrics(clips, uninterrupted, tmp_path):
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    recorder = Recorder()
    (run / "metrics.json").unlink()
    trained(clips, run, resume=True, recorder=recorder)
    assert recorder.steps == []
    assert outcome(run) == outcome(uninterrupted)


def test_a_damaged_checkpoint_gives_a_one_line_error(clips, uninterrupted, tmp_path):
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    (run / "checkpoint.npz").write_bytes(b"broken")
    with pytest.raises(
        TrainerError, match=r"checkpoint.npz is damaged or was changed: its digest differs from that in"
    ):
        trained(clips, run, resume=True)
    (run / "manifest.json").unlink()
    with pytest.raises(TrainerError, match=r"checkpoint.npz is not a checkpoint of this run .*; restore it, or start"):
        trained(clips, run, resume=True)


# -- the command line, killed ------------------------------------------------------------------------------------------


def start(clips, run, *options, **environment):
    command = [sys.executable, "cli.py", "train", "pretrain", clips, run, "--backbone", "small", "--epochs", "4"]
    return subprocess.Popen(
        [*map(str, command), "--save-every", "0", "--quiet", *options],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def checkpoint_time(run):
    """The time of the last checkpoint in ns, or 0."""
    try:
        return (run / "checkpoint.npz").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


KILLED = (-signal.SIGKILL, "")


def kill_after(clips, run, checkpoints, pause):
    """Kill a training process `pause` seconds after it wrote `checkpoints`; return (exit code, output)."""
    process = start(clips, run, "--resume")
    last, remaining = checkpoint_time(run), checkpoints
    while remaining and process.poll() is None:
        if checkpoint_time(run) != last:
            last, remaining = checkpoint_time(run), remaining - 1
        time.sleep(0.001)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    return finish(process)


def test_a_killed_process_leaves_a_run_that_ends_with_the_same_files(clips, uninterrupted, tmp_path):
    run = tmp_path / "run"
    assert kill_after(clips, run, checkpoints=5, pause=0.0) == KILLED
    trained(clips, run, resume=True)
    assert outcome(run) == outcome(uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_runs_killed_twenty_times_at_random_end_with_the_same_files(clips, uninterrupted, tmp_path):
    generator, killed, finished = random.Random(), 0, 0
    while killed < 20:
        run = tmp_path / str(finished)
        while killed < 20 and kill_after(clips, run, generator.randrange(5), generator.uniform(0, 0.1)) == KILLED:
            killed += 1
        assert finish(start(clips, run, "--resume")) == (0, "")
        assert outcome(run) == outcome(uninterrupted)
        finished += 1
    print(f"{killed} kills in {finished} runs")


# -- another backend ---------------------------------------------------------------------------------------------------

ON_JAX = """
import json, sys
import cli

clips, run, other = sys.argv[1:]
options = ["--backbone", "small", "--quiet"]
for arguments in (
    ["train", "pretrain", clips, run, "--epochs", "1", *options],
    ["evaluate", run, clips, "--quiet"],
    ["train", "pretrain", clips, other, "--resume", *options],
):
    assert cli.main.main(arguments, standalone_mode=False) in (None, 0)
import keras
print(keras.backend.backend())
"""


def history(run):
    with (run / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_jax_trains_evaluates_and_resumes_a_tensorflow_run_to_the_same_losses(clips, uninterrupted, tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("tensorflow")
    shutil.copytree(uninterrupted.with_name("first"), tmp_path / "other")
    command = [sys.executable, "-c", ON_JAX, clips, tmp_path / "run", tmp_path / "other"]
    result = subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (result.stderr, result.stdout, result.returncode) == ("", "jax\n", 0)
    (jax_row,), resumed_rows, expected = history(tmp_path / "run"), history(tmp_path / "other"), history(uninterrupted)
    assert 0 < jax_row["loss"] < 2
    assert resumed_rows[0] == expected[0]
    assert resumed_rows[1] == pytest.approx(expected[1], abs=1e-4)
