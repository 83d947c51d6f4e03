"""The faster LSTM computes the same as Keras' own."""

import keras
import numpy as np
import pytest

from trainer.config import PRETRAIN
from trainer.model.rnn import LSTM
from trainer.model.viptt_net import build_head
from trainer.training.fit import compile_for


@pytest.fixture(scope="module")
def both():
    """The same network with each of the two layers, and a batch."""
    networks = []
    for layer in (LSTM, keras.layers.LSTM):
        sequence = keras.Input((9, 5))
        networks.append(keras.Model(sequence, keras.layers.Dense(3, "softmax")(layer(7)(sequence))))
    networks[0].set_weights(networks[1].get_weights())
    rng = np.random.default_rng(0)
    return networks, rng.normal(size=(4, 9, 5)).astype(np.float32), np.array([0, 2, 1, 1], np.int32)


def test_it_gives_the_same_outputs_with_the_same_weights(both):
    (ours, theirs), sequences, _ = both
    assert [v.shape for v in ours.weights] == [v.shape for v in theirs.weights]
    np.testing.assert_allclose(ours.predict_on_batch(sequences), theirs.predict_on_batch(sequences), atol=1e-6)


def test_it_trains_to_the_same_weights(both):
    (ours, theirs), sequences, labels = both
    for network in (ours, theirs):
        network.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", jit_compile=False)
        for _ in range(3):
            network.train_on_batch(sequences, labels)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_it_is_saved_and_loaded_safely(both, tmp_path):
    (ours, _), sequences, _ = both
    ours.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict_on_batch(sequences), ours.predict_on_batch(sequences))


@pytest.mark.parametrize("rnn", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_xla_compiles_the_layers_after_the_frame_encoder(rnn):
    losses = []
    for compiled in (True, False):
        config = PRETRAIN.replace(rnn=rnn, jit_compile=compiled)
        network = build_head(config, (5, 8), 3)
        compile_for(network, config)
        sequences = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
        losses.append([float(network.train_on_batch(sequences, np.array([0, 2]))[0]) for _ in range(2)])
    np.testing.assert_allclose(*losses, rtol=1e-5)
