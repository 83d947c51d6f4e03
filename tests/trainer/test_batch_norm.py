"""Batch statistics of a trained backbone are recomputed after each epoch from training samples."""

import keras
import numpy as np
import pytest

from tests.helpers.networks import SMALL, Killed, Recorder, make_clips, outcome, small, training_data, variables
from trainer.data.batches import epoch_order
from trainer.training.batch_norm import SAMPLES, recompute_statistics, uses_precise_statistics
from trainer.training.fit import fit

PRECISE = SMALL.replace(precise_batch_norm=True, epochs=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("batch_norm") / "clips.zarr")


def norm_layer(full_model):
    (layer,) = (x for x in frame_encoder(full_model).backbone.layers if isinstance(x, keras.layers.BatchNormalization))
    return layer


def frame_encoder(full_model):
    return full_model.get_layer("frames")


def statistics(full_model):
    layer = norm_layer(full_model)
    return [keras.ops.convert_to_numpy(v).copy() for v in (layer.moving_mean, layer.moving_variance)]


def statistics_in_numpy(full_model, samples, config, epoch, transform=None):
    """Means over the first batches of the epoch of each channel's mean and variance before normalisation."""
    encoder = frame_encoder(full_model)
    before_norm = keras.Model(encoder.backbone.input, norm_layer(full_model).input)
    order = epoch_order(len(samples), config.seed, epoch)[:SAMPLES]
    means, variances = [], []
    for start in range(0, len(order), config.batch_size):
        names = [samples.ids[position] for position in order[start : start + config.batch_size]]
        stored = [samples.cache.stored(name) for name in names]
        volumes = np.stack(
            [transform(values, name) if transform else values for values, name in zip(stored, names, strict=True)]
        )
        slices = (volumes.astype(np.float32) / 255).reshape(-1, *volumes.shape[2:], 1)
        values = np.asarray(keras.ops.convert_to_numpy(before_norm(encoder.input_map(slices))), np.float64)
        means.append(values.mean(axis=0))
        variances.append(values.var(axis=0))
    return np.mean(means, axis=0), np.mean(variances, axis=0)


@pytest.mark.parametrize("transform", [None, lambda values, name: 255 - values])
def test_statistics_are_means_over_the_first_batches_of_the_epoch(clips, transform):
    full_model, training = small()[1], training_data(clips).training
    recompute_statistics(full_model, PRECISE, training, 3, transform)
    expected = statistics_in_numpy(full_model, training, PRECISE, 3, transform)
    for value, reference in zip(statistics(full_model), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-7)


def test_recomputing_changes_only_the_statistics(clips):
    model, full_model = small()
    before, momentum = variables(model), norm_layer(full_model).momentum
    recompute_statistics(full_model, PRECISE, training_data(clips).training, 0, None)
    after = variables(model)
    changed = [number for number in range(len(before)) if not np.array_equal(before[number], after[number])]
    names = [variable.path.rpartition("/")[2] for variable in (*model.weights, *model.optimizer.variables)]
    assert {names[number] for number in changed} == {"moving_mean", "moving_variance"}
    assert norm_layer(full_model).momentum == momentum


def test_an_epoch_ends_with_the_statistics_of_its_last_weights(clips, tmp_path):
    model, full_model = small()
    data = training_data(clips)
    fit(model, full_model, PRECISE, data, tmp_path, Recorder())
    for value, reference in zip(
        statistics(full_model), statistics_in_numpy(full_model, data.training, PRECISE, 1), strict=True
    ):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-7)


def test_a_resumed_run_has_the_same_batch_statistics(clips, tmp_path):
    def kill(epoch, done):
        if (epoch, done) == (1, 3):
            raise Killed

    data = training_data(clips)
    fit(*small(), PRECISE, data, _folder(tmp_path / "straight"), Recorder())
    with pytest.raises(Killed):
        fit(*small(), PRECISE, data, _folder(tmp_path / "killed"), Recorder(kill), save_seconds=0)
    fit(*small(), PRECISE, data, tmp_path / "killed", Recorder())
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")


@pytest.mark.parametrize(
    "setting", [{"freeze_backbone": True}, {"cached_features": True}, {"precise_batch_norm": False}]
)
def test_batch_statistics_are_not_recomputed_if_the_backbone_is_not_trained(setting):
    assert uses_precise_statistics(PRECISE)
    assert not uses_precise_statistics(PRECISE.replace(**setting))


def _folder(path):
    path.mkdir()
    return path
