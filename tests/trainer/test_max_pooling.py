"""The faster max pooling gives the values of the layer of Keras, and its gradients unless maxima are equal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.networks import SMALL  # noqa: F401 - starts the backend
from trainer.model.max_pooling import HalvingMaxPooling2D, with_fast_pooling


def images(height=6, width=8):
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("side", [(6, 8), (7, 9), (2, 3)])
def test_max_pooling_gives_the_values_and_gradients_of_keras(side):
    results = []
    for layer in (HalvingMaxPooling2D(), keras.layers.MaxPooling2D()):
        values = tf.Variable(images(*side))
        with tf.GradientTape() as tape:
            outputs = layer(values)
            loss = tf.reduce_sum(outputs**2)
        results.append((outputs.numpy(), tape.gradient(loss, values).numpy()))
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_equal_maxima_share_the_gradient():
    values = tf.Variable(tf.ones((1, 2, 2, 1)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(HalvingMaxPooling2D()(values))
    np.testing.assert_array_equal(tape.gradient(loss, values).numpy().ravel(), [0.25] * 4)


def test_a_network_with_fast_pooling_has_the_same_layer_names_and_outputs():
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    copy = with_fast_pooling(network)
    assert sum(isinstance(layer, HalvingMaxPooling2D) for layer in copy.layers) == 5
    assert [layer.name for layer in copy.layers[1:]] == [layer.name for layer in network.layers[1:]]
    gray = np.random.default_rng(1).random((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(*(model(gray).numpy() for model in (network, copy)))
