"""ViPTT-Net in plain Keras 3: a CNN on every slice, an RNN over the slices, a classifier (ViPTT-Net §2.2).

    volume (depth, height, width) in [0, 1]
      → frames   1×1×1 convolution to 3 channels, backbone, average pool: (depth, channels)
      → rnn      LSTM or GRU, 256 units, last step
      → dense    1024, ReLU
      → classes  softmax

Time is folded into the batch, so a slice costs what a picture costs: Keras' `TimeDistributed` would trace the backbone
once a slice. Slices go through in blocks whose activations are computed anew in the backward pass
(`keras.remat`), so that memory holds one block's activations and not all slices'.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from cache.schema import scale_factor
from trainer.config import Config
from trainer.model.rnn import LSTM

RNN_UNITS = 256
DENSE_UNITS = 1024
BLOCK_PIXELS = 5 * 224 * 224  # of a block of slices: 4 GB for a step of two volumes through VGG-16
VGG_MEANS = (103.939, 116.779, 123.68)  # ImageNet's, blue, green, red, of 0..255: what VGG-16's weights expect removed
INPUT_MAPS = {"vgg16": (255.0, tuple(-mean for mean in VGG_MEANS)), "small": (1.0, (-0.5, -0.5, -0.5))}
LEAST_SIDE = {"vgg16": 32, "small": 16}  # px that the poolings and strides of a backbone need
SMALL_FILTERS = (8, 16, 32, 64)


def build_model(config: Config, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The whole network: float volumes (n, depth, height, width) in [0, 1] → class probabilities (n, classes).

    Initial values follow from `config.seed`; ImageNet's are not loaded here (`weights.py`).
    """
    with precision(config.precision):
        keras.utils.set_random_seed(config.seed)
        volume = keras.Input(shape, name="volume")
        block = _block(config, shape)
        frames = FrameEncoder(config.backbone, config.input_conv, block, name="frames")
        model = keras.Model(volume, _sequence_layers(frames(volume), config, classes), name="viptt_net")
    frames.backbone.trainable = not config.freeze_backbone
    return model


def build_head(config: Config, shape: tuple[int, int], classes: int) -> keras.Model:
    """The network behind the frames: features (n, depth, channels) → class probabilities (n, classes)."""
    with precision(config.precision):
        keras.utils.set_random_seed(config.seed)
        features = keras.Input(shape, name="features")
        return keras.Model(features, _sequence_layers(features, config, classes), name="viptt_net_head")


def _block(config: Config, shape: tuple[int, int, int]) -> int:
    """Slices of a block. `small` takes all: it needs little memory, and normalises over what it is given at once."""
    if config.backbone == "small":
        return 0
    return config.slices_per_step or max(1, BLOCK_PIXELS // (shape[1] * shape[2]))


def head_of(model: keras.Model) -> keras.Model:
    """What of `model` is behind the frames, as a model of its own that shares its layers: features → probabilities."""
    found = features = keras.Input(model.get_layer("frames").output.shape[1:], name="features")
    for name in ("rnn", "dense", "classes"):
        found = model.get_layer(name)(found)
    return keras.Model(features, found, name="viptt_net_head")


def frames_of(model: keras.Model, count: int, dtype: str) -> keras.Model:
    """What of `model` is before the RNN: (1, count, height, width) of `dtype` as stored → (1, count, channels)."""
    stored = keras.Input((count, *model.input_shape[2:]), dtype=dtype, name="stored")
    return keras.Model(stored, model.get_layer("frames")(_scaling(dtype)(stored)), name="frames")


def for_stored(model: keras.Model, dtype: str) -> keras.Model:
    """`model` behind the step from values as stored to [0, 1], so that integers travel to the device."""
    stored = keras.Input(model.input_shape[1:], dtype=dtype, name="stored")
    return keras.Model(stored, model(_scaling(dtype)(stored)))


def _scaling(dtype: str) -> keras.layers.Layer:
    """From values of `dtype`, as a cache stores them, to float32."""
    scale = scale_factor(dtype)
    return keras.layers.Rescaling(1.0 if scale is None else scale, dtype="float32")


def _sequence_layers(features: Any, config: Config, classes: int) -> Any:
    lstm = keras.layers.LSTM if config.jit_compile else LSTM  # XLA cannot go back through the scan in ours
    rnn = {"lstm": lstm, "gru": keras.layers.GRU}[config.rnn]
    last = rnn(RNN_UNITS, name="rnn")(features)
    hidden = keras.layers.Dense(DENSE_UNITS, activation="relu", name="dense")(last)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="classes")(hidden)


@keras.saving.register_keras_serializable("viptt")
class FrameEncoder(keras.layers.Layer):
    """Volumes (n, depth, height, width) in [0, 1] → features (n, depth, channels) of every slice.

    `block` slices of each volume go through at a time (0: all at once). While training, a block keeps no activations
    but its features; they are computed again when its gradient is.
    """

    def __init__(self, backbone: str, input_map: str = "imagenet", block: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.backbone_name, self.input_map_name, self.block = backbone, input_map, block

    def build(self, input_shape: Any) -> None:
        _, _, height, width = input_shape
        self.input_map = input_map_layer(self.backbone_name, self.input_map_name)
        self.input_map.build((None, height, width, 1))
        self.backbone = BACKBONES[self.backbone_name]((height, width, 3))
        self.channels = self.backbone.output_shape[-1]
        super().build(input_shape)

    def call(self, volumes: Any, training: bool = False) -> Any:
        depth = volumes.shape[1]
        encode = partial(self._encode, training=training)
        if not 0 < self.block < depth:
            return encode(volumes)
        encode = keras.remat(encode) if training else encode
        starts = range(0, depth, self.block)
        return ops.concatenate([encode(volumes[:, start : start + self.block]) for start in starts], axis=1)

    def _encode(self, volumes: Any, training: bool) -> Any:
        _, depth, height, width = volumes.shape
        frames = ops.reshape(volumes, (-1, height, width, 1))
        features = self.backbone(self.input_map(frames), training=training)
        return ops.reshape(features, (-1, depth, self.channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:2], self.channels)

    def get_config(self) -> dict[str, Any]:
        own = {"backbone": self.backbone_name, "input_map": self.input_map_name, "block": self.block}
        return super().get_config() | own


def input_map_layer(backbone: str, start: str) -> keras.layers.Layer:
    """The 1×1 convolution from gray to the backbone's three channels, 6 weights.

    `start` "imagenet" is the exact map from [0, 1] gray to what the backbone's weights expect (for VGG-16 BGR 0..255
    less ImageNet's means), "random" a random one.
    """
    if start in ("random", "glorot"):
        return keras.layers.Conv2D(3, 1, name="input_map")
    scale, offsets = INPUT_MAPS[backbone]
    kernel = keras.initializers.Constant(scale)
    return keras.layers.Conv2D(3, 1, kernel_initializer=kernel, bias_initializer=_Values(offsets), name="input_map")


@keras.saving.register_keras_serializable("viptt")
class _Values(keras.initializers.Initializer):
    """The given values as they are."""

    def __init__(self, values: tuple[float, ...]) -> None:
        self.values = tuple(values)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return ops.convert_to_tensor(np.reshape(self.values, shape), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"values": self.values}


def _vgg16(shape: tuple[int, int, int]) -> keras.Model:
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=shape, pooling="avg")


def _small(shape: tuple[int, int, int]) -> keras.Model:
    """Four strided convolutions for demonstrations and CPUs; 128 features a slice, 25,040 weights.

    Untrained, its features hardly differ from slice to slice, and an RNN learns nothing from them until they are
    centred and scaled over the batch. The mean of each channel tells sizes, its largest value small lesions.
    """
    picture = keras.Input(shape)
    x = picture
    for number, filters in enumerate(SMALL_FILTERS, start=1):
        layer = keras.layers.Conv2D(
            filters, 3, 2, "same", activation="relu", kernel_initializer="he_normal", name=f"conv{number}"
        )
        x = layer(x)
    pools = [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    features = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Concatenate()(pools))
    return keras.Model(picture, features, name="small")


BACKBONES: dict[str, Callable[[tuple[int, int, int]], keras.Model]] = {"vgg16": _vgg16, "small": _small}


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Within this block layers are made for `policy`: "float32", or "mixed_bfloat16" for bfloat16 arithmetic."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
