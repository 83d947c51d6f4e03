"""A minimal description of a run, and the folder of a trained run."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.networks import OPTIONS, Recorder, make_clips
from trainer.config import FINETUNE
from trainer.data.splits.split import Split
from trainer.runs.plan import Request
from trainer.runs.run import Run
from trainer.training.train import train

RECIPE = {"kind": "ct", "window": [-1000.0, 400.0], "orientation": "SPL"}
RUN = Run(FINETUNE, "ct", (3, 4, 5), ("one", "two"), RECIPE)
SPLIT = Split(("s0",), ("s1",))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("manifest") / "clips.zarr")


def trained(clips, run, epochs=2, **options):
    config = {**OPTIONS, "epochs": epochs}
    train(Request("pretrain", clips, run, config, readers=1, **options), Recorder())
    return run


@pytest.fixture(scope="module")
def made(clips, tmp_path_factory):
    return trained(clips, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "run"))
