"""Features of slices: the frame encoder on blocks of one size, across samples, several of them under way at once."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cache import Cache
from cache.fingerprint import digest_bytes
from trainer.backend import library, uses_gpu
from trainer.model.viptt_net import encoder_model

BLOCK_PIXELS = 16 * 224 * 224  # of the slices that go through the backbone at a time on a CPU,
GPU_BLOCK_PIXELS = 256 * 224 * 224  # and on a GPU, which needs more of them to be busy


def block_pixels() -> int:
    """Pixels of the slices that go through the backbone at a time on the device in use."""
    return GPU_BLOCK_PIXELS if uses_gpu() else BLOCK_PIXELS


@dataclass(frozen=True)
class StartedSlices:
    """Slices under way: the outputs of their blocks, and for each slice the number of the unique one that it equals."""

    blocks: list[Any]
    unique_of: list[int]


class FrameFeatures:
    """The frame encoder of `model`, for slices of `volumes`.

    Equal slices, such as empty ones, are computed once for each call.
    """

    def __init__(self, model: keras.Model, volumes: Cache) -> None:
        _, depth, height, width = model.input_shape
        max_block = max(1, block_pixels() // (height * width))
        # Blocks of equal size, so that the last block of a volume is nearly full too.
        self.block = math.ceil(depth / math.ceil(depth / max_block)) if max_block < depth else max_block
        self.model = encoder_model(model, self.block, volumes.attributes.dtype)
        self.forward = library().forward(self.model)

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        """Features float16 (n, channels) of stored slices (n, height, width)."""
        return self.finish(self.start(slices))

    def start(self, slices: np.ndarray) -> StartedSlices:
        """Start computing the features of stored slices (n, height, width)."""
        numbers: dict[str, int] = {}
        unique_of = [numbers.setdefault(digest_bytes(one.tobytes()), len(numbers)) for one in slices]
        unique = slices[np.unique(unique_of, return_index=True)[1]]
        blocks = []
        for start in range(0, len(unique), self.block):
            rows = unique[start : start + self.block]
            block = np.zeros((1, self.block, *slices.shape[1:]), slices.dtype)  # always the same shape: compiled once
            block[0, : len(rows)] = rows
            blocks.append(self.forward(block))
        return StartedSlices(blocks, unique_of)

    def finish(self, started: StartedSlices) -> np.ndarray:
        """Wait for the features of started slices, float16 (n, channels)."""
        with np.errstate(over="ignore"):  # the writer rejects values that float16 cannot hold, naming the sample
            features = [np.asarray(block, np.float32)[0].astype(np.float16) for block in started.blocks]
        return np.concatenate(features)[started.unique_of]
