"""The time that training on a CPU will take, estimated before it starts."""

import time

import keras
import numpy as np

from trainer.backend import unused_gpu, uses_gpu
from trainer.config import Config
from trainer.model.backbone import get_backbone

FORWARD, FROZEN, TRAINED = 1.0, 3.0, 4.0  # cost of a slice in a step, in forward passes, one of them repeated
NOTEWORTHY_HOURS = 1.0


def device_notes(full_model: keras.Model, config: Config, training: int, validation: int) -> list[str]:
    """What the user should know about the device before training starts, if anything.

    `training` and `validation` are numbers of samples in an epoch.
    """
    notes = [note] if (note := unused_gpu()) else []
    if uses_gpu() or config.cached_features or get_backbone(config.backbone).block_pixels is None:
        return notes
    _, depth, *_ = full_model.input_shape
    passes = depth * (training * passes_of_a_slice(config) + validation * FORWARD)
    hours = slice_seconds(full_model) * passes / 3600
    if hours * config.epochs < NOTEWORTHY_HOURS:
        return notes
    return [*notes, cpu_note(config, hours)]


def passes_of_a_slice(config: Config) -> float:
    """The cost of a training step for one slice, as a multiple of a forward pass of the backbone.

    The gradient goes through a frozen backbone too, to the convolution before it, but not to its weights.
    """
    return FROZEN if config.freeze_backbone else TRAINED


def cpu_note(config: Config, hours: float) -> str:
    """The warning that an epoch takes `hours` on this CPU, and the ways out."""
    return (
        f"{get_backbone(config.backbone).title} on this CPU takes about {_rounded(hours)} h an epoch, up to "
        f"{_rounded(hours * config.epochs)} h for {config.epochs}; for less use a GPU (`make gpu`), features "
        "computed once (`features`, then --features), or --backbone small"
    )


def _rounded(hours: float) -> str:
    return f"{hours:.1f}" if hours < 10 else f"{hours:.0f}"


def slice_seconds(full_model: keras.Model) -> float:
    """The measured time of a forward pass of the backbone with one slice, after a first one that prepares it."""
    frames = full_model.get_layer("frames")
    _, _, height, width = full_model.input_shape
    image = np.zeros((1, height, width, 3), np.float32)
    seconds = 0.0
    for _ in range(2):
        before = time.perf_counter()
        keras.ops.convert_to_numpy(frames.backbone(image, training=False))
        seconds = time.perf_counter() - before
    return seconds
