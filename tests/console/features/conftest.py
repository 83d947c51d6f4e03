"""The shared caches and runs, and features of the clips."""

import shutil

import pytest

from tests.helpers.commands import cli
from tests.helpers.runs import trained

SMALL = ("--backbone", "small", "--weights", "none")
TRAIN = ("--epochs", 1, "--batch-size", 4, "--quiet")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The shared caches and runs, features of the clips, and a run on the features; tests only read them."""
    folder, *_ = trained(tmp_path_factory.getbasetemp())
    assert cli("features", folder / "clips.zarr", folder / "features.zarr", *SMALL, "--quiet").exit_code == 0
    split = ("--split", folder / "by_hand.json")
    assert cli("train", "pretrain", folder / "features.zarr", folder / "alone", *split, *TRAIN).exit_code == 0
    return folder


@pytest.fixture
def clips(runs):
    return runs / "clips.zarr"


@pytest.fixture
def features(runs):
    return runs / "features.zarr"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "into.zarr"


@pytest.fixture
def own_features(features, tmp_path):
    """A copy of the features that a test may write."""
    return shutil.copytree(features, tmp_path / "own.zarr")
