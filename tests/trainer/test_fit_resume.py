"""Training that is resumed or fails."""

import numpy as np
import pytest

from tests.helpers.networks import (
    SMALL,
    TRAINED,
    Killed,
    Recorder,
    assign,
    make_clips,
    plain,
    training_data,
    variables,
)
from trainer.errors import TrainerError
from trainer.model.predict import DIVERGED_HINT, predict
from trainer.training.fit import fit

ONE_EPOCH = SMALL.replace(epochs=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("fit") / "clips.zarr")


def test_training_with_more_epochs_continues_after_fewer(clips, tmp_path):
    model, full_model = plain()
    (tmp_path / "uninterrupted").mkdir()
    expected = fit(
        model, full_model, SMALL.replace(epochs=3), training_data(clips), tmp_path / "uninterrupted", Recorder()
    )
    weights = variables(model)
    for epochs in (1, 3):
        model, full_model = plain()
        actual = fit(model, full_model, SMALL.replace(epochs=epochs), training_data(clips), tmp_path, Recorder())
    assert actual.history == expected.history
    assert all(np.array_equal(a, b) for a, b in zip(variables(model), weights, strict=True))


@pytest.mark.parametrize("epochs", [1, 2])
def test_no_epoch_is_added_if_enough_are_finished(epochs, clips, tmp_path):
    def stop(row):
        if row["epoch"] == 2:
            raise Killed

    model, full_model = plain()
    with pytest.raises(Killed):
        fit(model, full_model, SMALL.replace(epochs=9), training_data(clips), tmp_path, Recorder(epoch=stop))
    recorder = Recorder()
    state = fit(model, full_model, SMALL.replace(epochs=epochs), training_data(clips), tmp_path, recorder)
    assert (recorder.steps, state.epoch, state.stopped) == ([], 2, "epochs")


def test_a_run_that_stopped_early_is_not_continued(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.training.fit.cross_entropy", lambda *_: 0.5)
    config = SMALL.replace(epochs=50, stop_patience=1)
    model, full_model = plain()
    fit(model, full_model, config, training_data(clips), tmp_path, Recorder())
    recorder = Recorder()
    fit(model, full_model, config.replace(epochs=60), training_data(clips), tmp_path, recorder)
    assert recorder.steps == []


def diverged():
    """A network with one weight that is NaN."""
    model, full_model = plain()
    values = variables(model)
    values[0][5, 0] = np.nan
    assign(model, values)
    return model, full_model


def test_a_loss_that_is_not_finite_stops_training_and_saves_nothing(clips, tmp_path):
    model, full_model = diverged()
    with pytest.raises(TrainerError) as error:
        fit(model, full_model, ONE_EPOCH, training_data(clips), tmp_path, Recorder(), 0)
    assert str(error.value) == f"the loss became nan in epoch 1, step 1; {DIVERGED_HINT}"
    assert list(tmp_path.iterdir()) == []


def test_a_prediction_that_is_not_finite_is_an_error_with_its_sample(clips):
    model, _ = diverged()
    with pytest.raises(TrainerError) as error:
        predict(model, training_data(clips).validation, 2)
    assert str(error.value) == f"the prediction for 's{TRAINED}' is not a finite number; {DIVERGED_HINT}"
