"""Splits that lack a class: errors, notes, and runs with an undefined kappa."""

import csv
import json
import math

import numpy as np
import pytest

from tests.helpers.networks import Recorder, make_clips
from trainer.errors import TrainerError
from trainer.runs.plan import Request
from trainer.training.tensorboard import TensorBoard
from trainer.training.train import train


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve clips: class "one" for even numbers, "two" for odd numbers, none of class "three"."""
    return make_clips(tmp_path_factory.mktemp("one_class") / "clips.zarr", class_names=("one", "two", "three"))


@pytest.fixture
def request_for(tmp_path, clips):
    """A function that returns a request to train with the clips with these numbers in each subset."""

    def request(train_on, validate_on, **options):
        split = tmp_path / "split.json"
        subsets = {"train": train_on, "validation": validate_on}
        split.write_text(
            json.dumps({subset: [f"s{number}" for number in numbers] for subset, numbers in subsets.items()})
        )
        options_of_run = {"backbone": "small", "epochs": options.pop("epochs", 1)}
        return Request("pretrain", clips, tmp_path / "run", options_of_run, split=split, **options)

    return request


@pytest.fixture
def always_one(monkeypatch):
    """Makes every prediction class "one"."""
    for name in ("trainer.training.fit.predict", "trainer.training.train.predict"):
        monkeypatch.setattr(name, lambda model, subset, *rest: np.tile(np.float32([0.8, 0.1, 0.1]), (len(subset), 1)))


def test_training_on_one_class_is_rejected_before_anything_is_written(request_for):
    request = request_for([0, 2, 4], [1, 3])
    with pytest.raises(TrainerError) as error:
        train(request, Recorder())
    assert str(error.value) == (
        f"{request.split}: split has only class 'one' in 'train' (3 samples); expected two classes or more; "
        "add samples of another"
    )
    assert not request_for([0], [1]).run.exists()


def test_a_class_without_training_samples_is_noted(request_for):
    recorder = Recorder()
    train(request_for([0, 1, 2, 3], [4, 5]), recorder)
    assert recorder.notes[1:] == ["no samples to train on of 'three': the network cannot learn to predict this class"]


def test_validating_on_one_class_is_noted_and_an_undefined_kappa_is_null(request_for, always_one):
    recorder = Recorder()
    metrics = train(request_for([0, 1, 2, 3], [4, 6, 8]), recorder)
    assert recorder.notes[2] == (
        "all 3 samples to validate on are of class 'one': their kappa is 0 or undefined; compare accuracy and loss"
    )
    run = request_for([0, 1], [4]).run
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert (metrics["kappa"], metrics["ci95"]["kappa"], metrics["accuracy"]) == (None, [None, None], 1)
    with (run / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert math.isnan(float(row["val_kappa"]))
    assert math.isnan(recorder.rows[0]["val_kappa"])
    assert (run / "curves.png").stat().st_size > 1000


def test_a_run_with_an_undefined_kappa_can_be_resumed(request_for, always_one):
    train(request_for([0, 1, 2, 3], [4, 6, 8]), Recorder())
    recorder = Recorder()
    request = request_for([0, 1, 2, 3], [4, 6, 8], epochs=3, resume=True)
    train(request, recorder)
    assert [row["epoch"] for row in recorder.rows] == [2, 3]
    with (request.run / "history.csv").open() as file:
        assert [math.isnan(float(row["val_kappa"])) for row in csv.DictReader(file)] == [True] * 3


def test_undefined_values_are_not_logged_to_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoard(tmp_path, print) as board:
        board.on_epoch({"epoch": 3, "val_loss": 0.5, "val_kappa": math.nan}, {"seconds": 1.0}, 5)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {*events.Tags()["tensors"]} == {"val_loss", "seconds"}
