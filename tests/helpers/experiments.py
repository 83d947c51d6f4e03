"""Experiments that are run once, for tests that only read them, and the command that runs others."""

import functools
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers.commands import cli, read_json, tree
from tests.helpers.runs import make_clips, make_scans
from trainer.experiments.experiment import STRATEGIES
from trainer.experiments.report import PAPER_TYPES

SMALL = (
    "--backbone",
    "small",
    "--weights",
    "none",
    "--epochs",
    1,
    "--batch-size",
    10,
)  # all batches have the same size, so that the network is traced once
FOLDERS = [strategy.folder for strategy in STRATEGIES]
RUNS = ["pretrained", *FOLDERS]
REPORT = {"report.md", "table.csv", "kappa.png", *(f"confusion_{folder}.png" for folder in FOLDERS)}
COUNTS = (9, 6, 4, 4, 3)  # samples of each class; unequal, so that class weights matter


@functools.cache
def finished_experiments(base):
    """Caches, a finished experiment on volumes, and one on features: stopped, resumed, and extended by a seed.

    `states` are the files of the runs on features after each command, and `results` the results of these commands.
    """
    folder = base / "experiment"
    folder.mkdir()
    clips = make_clips(folder / "clips.zarr")
    labels = [number for number, count in enumerate(COUNTS) for _ in range(count)]
    scans = make_scans(folder / "ct.zarr", len(labels), class_names=PAPER_TYPES, labels=labels)
    before = tree(clips), tree(scans)
    streamed = cli("experiment", clips, scans, folder / "streamed", *SMALL, "--seed", 3, "--pretrain-epochs", 2)
    assert streamed.exit_code == 0, streamed.output
    frozen = folder / "frozen"
    command = ("experiment", clips, scans, frozen, *SMALL, "--features", "--input-conv", "random")
    results, states = [stopped_at("seed 0: PT+CW", *command)], [runs_of(frozen)]
    for options in ((), ("--seeds", 2)):
        results.append(cli(*command, *options))
        assert results[-1].exit_code == 0, results[-1].output
        states.append(runs_of(frozen))
    assert (tree(clips), tree(scans)) == before
    paths = {"folder": folder, "clips": clips, "scans": scans, "streamed": folder / "streamed", "frozen": frozen}
    return SimpleNamespace(**paths, said=streamed, results=results, states=states, command=command)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return finished_experiments(tmp_path_factory.getbasetemp())


def stopped_at(part, *command):
    """Run a command that is interrupted by Ctrl-C when `part` begins."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "console.progress.Progress.on_part", lambda self, name: name == part and os.kill(os.getpid(), signal.SIGINT)
        )
        patch.setattr(sys, "argv", ["cli.py", command[0]])
        result = cli(*command, "--quiet")
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return result


def runs_of(folder):
    """Time and size of every file of the runs in `folder`."""
    return {name: state for run in folder.glob("seed*/*") for name, state in tree(run).items() if Path(name).is_file()}


@pytest.fixture
def into(tmp_path):
    return tmp_path / "into"


def experiment(made, into, *options, clips=None, scans=None):
    return cli("experiment", clips or made.clips, scans or made.scans, into, *SMALL, "--quiet", *options)


def config(run):
    return read_json(run / "config.json")


def by_hand(folder, *validation):
    path = folder / "by_hand.json"
    path.write_text(json.dumps({"train": ["s10", "s20"], "validation": validation}))
    return path
