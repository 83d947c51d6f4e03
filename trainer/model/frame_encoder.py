"""The layers before the RNN: a 1×1 convolution from gray to three channels, then the backbone on every slice.

Depth is folded into the batch, so a slice costs as much as an image: Keras' `TimeDistributed` would trace the backbone
once per slice. Slices go through the backbone in blocks whose activations are computed again in the backward pass
(`keras.remat`), so that memory holds the activations of one block only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from trainer.model.backbone import get_backbone


@keras.saving.register_keras_serializable("viptt")
class FrameEncoder(keras.layers.Layer):
    """Volumes (n, depth, height, width) in [0, 1] → features (n, depth, channels) of every slice.

    `block` slices of each volume go through at a time (0: all at once). A backbone with batch normalisation that is
    being trained always gets all of them at once, since statistics over a block differ from those over all slices.
    `input_map` sets the initial 1×1 convolution: "imagenet" or "random" (see `input_conv_layer`).
    """

    # Files of weights name the attributes `input_map` and `backbone`, and model.keras the arguments: they must stay.
    def __init__(self, backbone: str, input_map: str = "imagenet", block: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.backbone_name, self.input_map_name, self.block = backbone, input_map, block

    def build(self, input_shape: Any) -> None:
        _, _, height, width = input_shape
        self.input_map = input_conv_layer(self.backbone_name, self.input_map_name)
        self.input_map.build((None, height, width, 1))
        self.backbone = get_backbone(self.backbone_name).build((height, width, 3), None)
        self.channels = self.backbone.output_shape[-1]
        super().build(input_shape)

    def call(self, volumes: Any, training: bool = False) -> Any:
        depth = volumes.shape[1]
        encode = partial(self._encode, training=training)
        if not 0 < self.block < depth or (training and self._needs_all_slices()):
            return encode(volumes)
        encode = keras.remat(encode) if training else encode
        if training and keras.backend.backend() == "jax":
            return self._in_a_loop(encode, volumes)
        starts = range(0, depth, self.block)
        return ops.concatenate([encode(volumes[:, start : start + self.block]) for start in starts], axis=1)

    def _in_a_loop(self, encode: Callable[[Any], Any], volumes: Any) -> Any:
        """`encode` of each block, traced and compiled once; the slices after the last full block are one more."""
        _, depth, height, width = volumes.shape
        blocks, rest = divmod(depth, self.block)
        full = ops.reshape(volumes[:, : depth - rest], (-1, blocks, self.block, height, width))
        features = ops.map(encode, ops.transpose(full, (1, 0, 2, 3, 4)))  # (blocks, n, block, channels)
        features = ops.reshape(ops.transpose(features, (1, 0, 2, 3)), (-1, depth - rest, self.channels))
        if not rest:
            return features
        return ops.concatenate([features, encode(volumes[:, depth - rest :])], axis=1)

    def _needs_all_slices(self) -> bool:
        """Whether the backbone normalises over the slices that it gets: it has batch normalisation and is trained."""
        return bool(self.backbone.trainable) and get_backbone(self.backbone_name).has_batch_norm

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


def input_conv_layer(backbone: str, start: str) -> keras.layers.Layer:
    """The 1×1 convolution from gray to the three channels of the backbone, 6 weights.

    With `start` "imagenet" it is the backbone's own preprocessing of a gray image. With "random" (called "glorot" in
    earlier versions) its initial values are random.
    """
    if start in ("random", "glorot"):
        return keras.layers.Conv2D(3, 1, name="input_map")
    spec = get_backbone(backbone)
    kernel, bias = _Values(spec.input_scale), _Values(spec.input_offset)
    return keras.layers.Conv2D(3, 1, kernel_initializer=kernel, bias_initializer=bias, name="input_map")


@keras.saving.register_keras_serializable("viptt")
class _Values(keras.initializers.Initializer):
    """Constant initial values."""

    def __init__(self, values: tuple[float, ...]) -> None:
        self.values = tuple(values)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return ops.convert_to_tensor(np.reshape(self.values, shape), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"values": self.values}
