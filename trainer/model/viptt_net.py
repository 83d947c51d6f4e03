"""ViPTT-Net in plain Keras 3: a CNN on every slice, an RNN over the slices, a classifier (ViPTT-Net §2.2).

volume (depth, height, width) in [0, 1]
  → frames   1×1 convolution to 3 channels, backbone, average pooling: (depth, channels)
  → rnn      LSTM or GRU, 256 units, last step
  → dense    1024, ReLU
  → classes  softmax
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from cache.schema import scale_factor
from trainer.backend import library
from trainer.config import Config
from trainer.model.frame_encoder import FrameEncoder
from trainer.model.memory import slices_at_once
from trainer.model.rnn import LSTM

RNN_UNITS = 256
DENSE_UNITS = 1024


def build_model(config: Config, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The full network: float volumes (n, depth, height, width) in [0, 1] → class probabilities (n, classes).

    Initial values follow from `config.seed`; ImageNet's are loaded by `weights.load_backbone`.
    """
    with precision(config.precision):
        keras.utils.set_random_seed(config.seed)
        volume = keras.Input(shape, name="volume")
        frames = FrameEncoder(config.backbone, config.input_conv, name="frames")
        model = keras.Model(volume, _sequence_layers(frames(volume), config, classes), name="viptt_net")
    frames.backbone.trainable = not config.freeze_backbone
    frames.block = slices_at_once(config, frames.backbone, shape[0], library().free_bytes())
    return model


def build_head(config: Config, shape: tuple[int, int], classes: int) -> keras.Model:
    """The layers after the frame encoder: features (n, depth, channels) → class probabilities (n, classes)."""
    with precision(config.precision):
        keras.utils.set_random_seed(config.seed)
        features = keras.Input(shape, name="features")
        return keras.Model(features, _sequence_layers(features, config, classes), name="viptt_net_head")


def has_frame_encoder(model: keras.Model) -> bool:
    """Whether `model` is a full network; one trained on features alone has only the layers after the frame encoder."""
    return any(layer.name == "frames" for layer in model.layers)


def head_model(model: keras.Model) -> keras.Model:
    """The layers of `model` after the frame encoder, shared with it: features → class probabilities."""
    x = features = keras.Input(model.get_layer("frames").output.shape[1:], name="features")
    for name in ("rnn", "dense", "classes"):
        x = model.get_layer(name)(x)
    return keras.Model(features, x, name="viptt_net_head")


def encoder_model(model: keras.Model, count: int, dtype: str) -> keras.Model:
    """The frame encoder of `model`, shared with it: (1, count, height, width) of `dtype` → (1, count, channels)."""
    stored = keras.Input((count, *model.input_shape[2:]), dtype=dtype, name="stored")
    return keras.Model(stored, model.get_layer("frames")(_rescaling(dtype)(stored)), name="frames")


def with_rescaling(model: keras.Model, dtype: str) -> keras.Model:
    """`model` after a layer that scales stored values of `dtype` to [0, 1], so that integers travel to the device."""
    stored = keras.Input(model.input_shape[1:], dtype=dtype, name="stored")
    return keras.Model(stored, model(_rescaling(dtype)(stored)))


def _rescaling(dtype: str) -> keras.layers.Layer:
    """From values of `dtype`, as a cache stores them, to float32."""
    scale = scale_factor(dtype)
    return keras.layers.Rescaling(1.0 if scale is None else scale, dtype="float32")


def _sequence_layers(features: Any, config: Config, classes: int) -> Any:
    """RNN, dense layer and softmax, in float32 whatever the policy, as some versions of cuDNN's LSTM require."""
    lstm = keras.layers.LSTM if config.jit_compile else LSTM  # XLA cannot differentiate the scan in ours
    rnn = {"lstm": lstm, "gru": keras.layers.GRU}[config.rnn]
    last = rnn(RNN_UNITS, dtype="float32", name="rnn")(features)
    hidden = keras.layers.Dense(DENSE_UNITS, activation="relu", dtype="float32", name="dense")(last)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="classes")(hidden)


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Within this block layers are made for `policy`: "float32", or "mixed_bfloat16" for bfloat16 arithmetic."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
