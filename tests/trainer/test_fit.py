"""The training loop gives the results of `keras.Model.fit` with the schedule of the paper, and records them."""

import csv

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.networks import (
    SMALL,
    TRAINED,
    Killed,
    Recorder,
    arrays_of,
    make_clips,
    plain,
    small,
    training_data,
    variables,
)
from trainer.data.batches import epoch_order
from trainer.data.class_weights import class_weights
from trainer.model.predict import predict
from trainer.training import checkpoint
from trainer.training.fit import fit

ROW = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_kappa", "learning_rate"]
STEPS = 5  # per epoch: 9 samples, two at a time
ONE_EPOCH = SMALL.replace(epochs=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("fit") / "clips.zarr")


def arrays(subset):
    """The stored samples of a subset, and their labels."""
    return np.stack([subset.cache.stored(name) for name in subset.ids]), subset.labels.astype(np.int32)


def in_order(subset, config, epoch=0):
    order = epoch_order(len(subset), config.seed, epoch)
    return subset, [order[start : start + config.batch_size] for start in range(0, len(subset), config.batch_size)]


def read_table(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


# -- same as Keras -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [plain, pytest.param(small, marks=pytest.mark.slow)])
def test_an_epoch_equals_keras_fit_on_the_same_order(network, clips, tmp_path):
    data = training_data(clips)
    (values, labels), held_out = arrays(data.training), arrays(data.validation)
    order = epoch_order(TRAINED, ONE_EPOCH.seed, 0)
    model, full_model = network()
    options = {"batch_size": 2, "shuffle": False, "validation_data": held_out, "verbose": 0}
    expected = model.fit(values[order], labels[order], **options).history
    weights = variables(model)
    model, full_model = network()
    (row,) = fit(model, full_model, ONE_EPOCH, data, tmp_path, Recorder()).history
    assert all(np.array_equal(a, b) for a, b in zip(variables(model), weights, strict=True))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert row[name] == pytest.approx(expected[name][0], abs=1e-6)


def test_metrics_of_earlier_weights_are_removed(clips, tmp_path):
    (tmp_path / "metrics.json").write_text("of an earlier epoch")
    fit(*plain(), ONE_EPOCH, training_data(clips), tmp_path, Recorder())
    assert (tmp_path / "model.keras").exists()
    assert not (tmp_path / "metrics.json").exists()


def test_the_validation_loss_equals_that_of_keras(clips, tmp_path):
    data = training_data(clips)
    model, full_model = small()
    (row,) = fit(model, full_model, ONE_EPOCH, data, tmp_path, Recorder()).history
    loss, accuracy = model.evaluate(*arrays(data.validation), batch_size=2, verbose=0)
    assert row["val_loss"] == pytest.approx(loss, abs=1e-6)
    assert row["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_class_weights_have_the_effect_of_class_weight_in_keras(clips, tmp_path):
    weights = class_weights(np.array([0] * 7 + [1] * 2), 2)
    data = training_data(clips, class_weights=weights)
    model, full_model = plain()
    subset, batches = in_order(data.training, ONE_EPOCH)
    values, labels = arrays(subset)
    losses = [
        len(batch) * model.train_on_batch(values[batch], labels[batch], class_weight=dict(enumerate(weights)))[0]
        for batch in batches
    ]
    expected = variables(model)
    model, full_model = plain()
    (row,) = fit(model, full_model, ONE_EPOCH, data, tmp_path, Recorder()).history
    assert all(np.array_equal(a, b) for a, b in zip(variables(model), expected, strict=True))
    assert row["loss"] == pytest.approx(sum(losses) / TRAINED, abs=1e-6)


# -- the schedule ------------------------------------------------------------------------------------------------------


class FixedLosses(keras.callbacks.Callback):
    """Replaces the validation losses by `losses`."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.losses[epoch]


def keras_schedule(losses):
    """The loop and callbacks of Keras with these validation losses: (rates, reason for stopping, best epoch from 0)."""
    model, _ = plain()
    stop = keras.callbacks.EarlyStopping("val_loss", patience=8, restore_best_weights=True)
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=5)
    values, labels = np.zeros((1, *model.input_shape[1:]), np.uint8), np.zeros(1, np.int32)
    history = model.fit(values, labels, epochs=len(losses), verbose=0, callbacks=[FixedLosses(losses), plateau, stop])
    return (
        history.history["learning_rate"],
        "no lower validation loss" if stop.stopped_epoch else "epochs",
        stop.best_epoch,
    )


near_losses = st.sampled_from([0.5, 0.50005, 0.49995, 0.4999, 0.6])
loss_sequences = st.lists(near_losses | st.floats(0, 3), min_size=1, max_size=30)


@settings(max_examples=10)
@given(losses=loss_sequences, stops=st.sets(st.integers(1, 30)))
@example(losses=[0.5] * 30, stops=set())
@example(losses=[0.5 - 1e-6 * epoch for epoch in range(30)], stops={3, 4, 11})
@example(losses=[1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.9, *[2.0] * 20], stops={6, 7, 13})
def test_rate_stop_and_best_weights_equal_those_of_keras_callbacks_despite_kills(
    clips, tmp_path_factory, losses, stops
):
    folder, remaining, weights_after = tmp_path_factory.mktemp("run"), iter(losses), {}
    config = SMALL.replace(batch_size=TRAINED, epochs=len(losses))

    def stop(row):
        weights_after[row["epoch"]] = model.get_weights()
        if row["epoch"] in stops:
            raise Killed

    state = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.training.fit.cross_entropy", lambda *_: next(remaining))
        while state is None:
            model, full_model = plain()
            try:
                state = fit(model, full_model, config, training_data(clips), folder, Recorder(epoch=stop))
            except Killed:
                continue
    rates, stopped, best = keras_schedule(losses)
    assert [row["learning_rate"] for row in state.history] == pytest.approx(rates, rel=1e-6)
    assert [row["val_loss"] for row in state.history] == losses[: len(rates)]
    assert state.stopped == stopped
    saved = sorted(array.tobytes() for array in arrays_of(folder / "model.keras").values())
    assert saved == sorted(array.tobytes() for array in weights_after[best + 1])


def test_the_rate_is_lowered_after_5_epochs_and_training_stops_after_8(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.training.fit.cross_entropy", lambda *_: 0.5)
    model, full_model = plain()
    state = fit(model, full_model, SMALL.replace(epochs=50), training_data(clips), tmp_path, Recorder())
    assert [row["learning_rate"] for row in state.history] == pytest.approx([1e-3] * 6 + [1e-4] * 3)
    assert state.stopped == "no lower validation loss"


# -- files and callbacks -----------------------------------------------------------------------------------------------


def test_history_and_timings_have_a_row_for_each_epoch(clips, tmp_path):
    model, full_model = plain()
    recorder = Recorder()
    state = fit(model, full_model, SMALL.replace(epochs=3), training_data(clips), tmp_path, recorder)
    assert [list(row) for row in state.history] == [ROW] * 3
    assert [row["epoch"] for row in state.history] == [1, 2, 3]
    assert read_table(tmp_path / "history.csv") == state.history == recorder.rows
    assert read_table(tmp_path / "timings.csv") == state.timings
    assert [row["epoch"] for row in state.timings] == [1, 2, 3]
    assert all(row["seconds"] > 0 and 0 <= row["data_wait"] <= 1 for row in recorder.timings)
    assert state.stopped == "epochs"
    assert {path.name for path in tmp_path.iterdir()} == {
        "history.csv",
        "timings.csv",
        "model.keras",
        "checkpoint.npz",
    }


def test_each_step_is_reported_with_the_mean_loss_of_the_epoch_so_far(clips, tmp_path):
    model, full_model = plain()
    recorder = Recorder()
    fit(model, full_model, SMALL.replace(epochs=2), training_data(clips), tmp_path, recorder)
    assert [step[:3] for step in recorder.steps] == [(e, n, STEPS) for e in (0, 1) for n in range(1, STEPS + 1)]
    assert [recorder.steps[STEPS - 1][3], recorder.steps[-1][3]] == [row["loss"] for row in recorder.rows]


@pytest.mark.parametrize(("seconds", "saves"), [(0.0, 2 * (STEPS + 1)), (3600.0, 2)])
def test_a_checkpoint_is_written_after_each_epoch_and_at_the_requested_interval(
    seconds, saves, clips, tmp_path, monkeypatch
):
    saved_checkpoints, save = [], checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *arguments: saved_checkpoints.append(0) or save(*arguments))
    model, full_model = plain()
    fit(model, full_model, SMALL.replace(epochs=2), training_data(clips), tmp_path, Recorder(), seconds)
    assert len(saved_checkpoints) == saves


def test_only_training_samples_are_transformed_with_the_number_of_the_epoch(clips, tmp_path):
    transformed = []

    def transform(epoch, stored, name):
        transformed.append((epoch, name))
        return stored

    data = training_data(clips, transform=transform)
    model, full_model = plain()
    fit(model, full_model, SMALL.replace(epochs=2), data, tmp_path, Recorder())
    assert sorted(transformed) == sorted((epoch, name) for epoch in (0, 1) for name in data.training.ids)


def test_predictions_keep_the_order_of_the_samples_and_report_progress(clips):
    subset = training_data(clips).training
    model, _ = plain()
    calls = []
    actual = predict(model, subset, 4, progress=lambda *counts: calls.append(counts))
    assert (actual.shape, actual.dtype) == ((TRAINED, 2), np.float32)
    np.testing.assert_allclose(actual, model.predict_on_batch(arrays(subset)[0]), atol=1e-6)
    assert calls == [(4, 9), (8, 9), (9, 9)]
