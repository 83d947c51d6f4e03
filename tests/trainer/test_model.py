"""The network has the parameters of the paper, and the same outputs for any number of slices at once."""

import json
import zipfile

import keras
import numpy as np
import pytest

from cache.schema import scale_factor
from tests.helpers.networks import CLIP, SMALL, Recorder, make_clips, plain, small, training_data
from trainer.config import FINETUNE, PRETRAIN
from trainer.model.viptt_net import build_head, build_model, with_rescaling
from trainer.training.fit import compile_for, fit

PAPER_SHAPE = (70, 224, 224)
INPUT_CONV, BACKBONE, LSTM, DENSE = 6, 14_714_688, 787_456, 263_168
GRU = 591_360
CLASSES = {10: 10_250, 5: 5_125}
TOTAL = {10: 15_775_568, 5: 15_770_443}
TINY = (4, 32, 32)  # the smallest slices that VGG-16 accepts


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def values_of(weights):
    return [keras.ops.convert_to_numpy(weight).copy() for weight in weights]


def volumes(n, shape=TINY):
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


# -- counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", TOTAL)
def test_the_full_size_network_has_the_parameters_of_the_paper(classes):
    model = build_model(PRETRAIN, PAPER_SHAPE, classes)
    frames = model.get_layer("frames")
    assert model.count_params() == TOTAL[classes]
    assert (frames.input_map.count_params(), frames.backbone.count_params()) == (INPUT_CONV, BACKBONE)
    assert [model.get_layer(name).count_params() for name in ("rnn", "dense")] == [LSTM, DENSE]
    assert model.get_layer("classes").count_params() == CLASSES[classes]
    assert (model.input_shape, model.output_shape) == ((None, *PAPER_SHAPE), (None, classes))
    assert frames.output.shape == (None, 70, 512)


def test_frozen_pretraining_trains_the_input_convolution_and_the_layers_after_the_backbone():
    pretrained, finetuned = (build_model(config, TINY, 10) for config in (PRETRAIN, FINETUNE))
    assert count(pretrained.trainable_weights) == INPUT_CONV + LSTM + DENSE + CLASSES[10]
    assert count(finetuned.trainable_weights) == TOTAL[10]


def test_a_gru_can_replace_the_lstm():
    model = build_model(PRETRAIN.replace(rnn="gru"), TINY, 10)
    assert model.get_layer("rnn").count_params() == GRU
    assert model.count_params() == TOTAL[10] - LSTM + GRU


def test_the_head_has_the_layers_after_the_frame_encoder():
    head = build_head(PRETRAIN, (70, 512), 10)
    assert head.count_params() == LSTM + DENSE + CLASSES[10]
    assert (head.input_shape, head.output_shape) == ((None, 70, 512), (None, 10))


def test_initial_weights_depend_only_on_the_seed():
    first, same, different = (build_model(SMALL.replace(seed=seed), CLIP, 2).get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, different, strict=True))


# -- slices ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def at_once():
    """VGG-16 on all four slices at once."""
    return build_model(FINETUNE.replace(slices_per_step=4, seed=5), TINY, 3)


@pytest.fixture(scope="module")
def in_blocks(at_once):
    """The same network, with three slices in the backbone and then the fourth."""
    model = build_model(FINETUNE.replace(slices_per_step=3, seed=6), TINY, 3)
    model.set_weights(at_once.get_weights())
    return model


def test_blocks_of_slices_give_the_same_predictions_as_all_at_once(at_once, in_blocks):
    actual, expected = (model.predict_on_batch(volumes(2)) for model in (in_blocks, at_once))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_the_network_equals_one_with_time_distributed_layers(at_once):
    frames = at_once.get_layer("frames")
    volume = keras.Input(TINY)
    actual = keras.layers.Reshape((*TINY, 1))(volume)
    for layer in (frames.input_map, frames.backbone):
        actual = keras.layers.TimeDistributed(layer)(actual)
    for name in ("rnn", "dense", "classes"):
        actual = at_once.get_layer(name)(actual)
    oracle = keras.Model(volume, actual)
    assert oracle.count_params() == at_once.count_params()
    np.testing.assert_allclose(
        at_once.predict_on_batch(volumes(2)), oracle.predict_on_batch(volumes(2)), rtol=0, atol=1e-4
    )


def test_a_training_step_in_blocks_changes_weights_like_one_with_all_slices(at_once, in_blocks):
    first = at_once.get_weights()
    changes = []
    for model in (at_once, in_blocks):
        compile_for(model, FINETUNE.replace(learning_rate=1.0))
        model.train_on_batch(volumes(2), np.array([0, 2]))
        changes.append([after - before for after, before in zip(model.get_weights(), first, strict=True)])
        model.set_weights(first)
    assert all(np.abs(change).max() > 0 for change in changes[0])
    for actual, expected in zip(*changes, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


def test_a_step_of_frozen_pretraining_does_not_change_the_backbone():
    model = build_model(PRETRAIN, TINY, 3)
    frames = model.get_layer("frames")
    backbone_before, first = values_of(frames.backbone.weights), values_of(model.trainable_weights)
    compile_for(model, PRETRAIN.replace(learning_rate=1.0))
    model.train_on_batch(volumes(2), np.array([0, 2]))
    assert all(np.array_equal(a, b) for a, b in zip(backbone_before, values_of(frames.backbone.weights), strict=True))
    assert all(np.abs(a - b).max() > 0 for a, b in zip(first, values_of(model.trainable_weights), strict=True))


# -- stored values, files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_stored_values_are_scaled_like_those_of_a_cache(dtype):
    _, full_model = plain()
    values = volumes(2, CLIP)
    scale = scale_factor(dtype)
    stored = values.astype(dtype) if scale is None else np.rint(values / scale).astype(dtype)
    decoded = stored.astype(np.float32) * np.float32(scale or 1)
    actual = with_rescaling(full_model, dtype).predict_on_batch(stored)
    np.testing.assert_allclose(actual, full_model.predict_on_batch(decoded), rtol=0, atol=1e-6)


def test_bfloat16_gives_nearly_the_same_predictions_and_does_not_affect_other_networks():
    exact, approximate = (build_model(SMALL.replace(precision=name), CLIP, 2) for name in ("float32", "mixed_bfloat16"))
    actual, expected = approximate.predict_on_batch(volumes(2, CLIP)), exact.predict_on_batch(volumes(2, CLIP))
    assert actual.dtype == np.float32
    assert 0 < np.abs(actual - expected).max() < 0.02
    assert keras.config.dtype_policy().name == "float32"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The model file that training writes, and the predictions of its network."""
    folder = tmp_path_factory.mktemp("saved")
    model, full_model = small()
    fit(model, full_model, SMALL.replace(epochs=1), training_data(make_clips(folder / "c.zarr")), folder, Recorder())
    return folder / "model.keras", full_model.predict_on_batch(volumes(3, CLIP))


def test_model_keras_loads_in_safe_mode_with_the_same_predictions(saved):
    path, expected = saved
    loaded = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(loaded.predict_on_batch(volumes(3, CLIP)), expected)


def test_model_keras_contains_no_code_and_no_optimizer(saved):
    with zipfile.ZipFile(saved[0]) as archive:
        config = archive.read("config.json").decode()
    assert "Lambda" not in config
    assert not json.loads(config)["compile_config"]


def test_a_network_with_blocks_loads_in_safe_mode_with_the_same_predictions(in_blocks, tmp_path):
    in_blocks.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.get_layer("frames").block == 3
    np.testing.assert_array_equal(loaded.predict_on_batch(volumes(2)), in_blocks.predict_on_batch(volumes(2)))
