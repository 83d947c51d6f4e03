"""The faster LSTM gives the same results as the LSTM of Keras."""

import keras
import numpy as np
import pytest

from trainer.config import PRETRAIN
from trainer.model.rnn import LSTM
from trainer.model.viptt_net import build_head
from trainer.training.fit import compile_for


@pytest.fixture(scope="module")
def networks_and_batch():
    """Two equal networks, one with each layer, and a batch."""
    networks = []
    for layer in (LSTM, keras.layers.LSTM):
        sequence = keras.Input((9, 5))
        networks.append(keras.Model(sequence, keras.layers.Dense(3, "softmax")(layer(7)(sequence))))
    networks[0].set_weights(networks[1].get_weights())
    rng = np.random.default_rng(0)
    return networks, rng.normal(size=(4, 9, 5)).astype(np.float32), np.array([0, 2, 1, 1], np.int32)


def test_the_lstm_has_the_outputs_of_the_keras_lstm_with_the_same_weights(networks_and_batch):
    (fast, reference), sequences, _ = networks_and_batch
    assert [v.shape for v in fast.weights] == [v.shape for v in reference.weights]
    np.testing.assert_allclose(fast.predict_on_batch(sequences), reference.predict_on_batch(sequences), atol=1e-6)


def test_the_lstm_trains_to_the_same_weights_as_the_keras_lstm(networks_and_batch):
    (fast, reference), sequences, labels = networks_and_batch
    for network in (fast, reference):
        network.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", jit_compile=False)
        for _ in range(3):
            network.train_on_batch(sequences, labels)
    for actual, expected in zip(fast.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_the_lstm_is_saved_and_loaded_in_safe_mode(networks_and_batch, tmp_path):
    (fast, _), sequences, _ = networks_and_batch
    fast.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict_on_batch(sequences), fast.predict_on_batch(sequences))


@pytest.mark.parametrize("rnn", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_xla_compilation_does_not_change_the_losses_of_the_head(rnn):
    losses = []
    for compiled in (True, False):
        config = PRETRAIN.replace(rnn=rnn, jit_compile=compiled)
        network = build_head(config, (5, 8), 3)
        compile_for(network, config)
        sequences = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
        losses.append([float(network.train_on_batch(sequences, np.array([0, 2]))[0]) for _ in range(2)])
    np.testing.assert_allclose(*losses, rtol=1e-5)
