"""Precise batch normalisation: running statistics from training samples and the present weights, after each epoch.

A running average over the steps of an epoch lags behind the weights: the validation loss then jumps although training
proceeds evenly (Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3).
"""

import keras

from cache.schema import scale_factor
from trainer.config import Config
from trainer.data.batches import epoch_order
from trainer.data.stream import READERS, Subset, Transform, batches

SAMPLES = 64  # per epoch, or all training samples if there are fewer


def uses_precise_statistics(config: Config) -> bool:
    """Whether a run with `config` recomputes its statistics: only while it trains the backbone."""
    return config.precise_batch_norm and not (config.freeze_backbone or config.cached_features)


def recompute_statistics(
    full_model: keras.Model,
    config: Config,
    training: Subset,
    epoch: int,
    transform: Transform | None,
    readers: int = READERS,
) -> None:
    """Replace the running statistics of the backbone by their means over the first batches of `epoch`, from 0.

    `full_model` takes float volumes in [0, 1], and `training` has volumes as they are stored. The same weights, samples
    and epoch give the same statistics.
    """
    frames = full_model.get_layer("frames")
    layers = [layer for layer in frames.backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    order = epoch_order(len(training), config.seed, epoch)[:SAMPLES]
    factor = scale_factor(training.cache.attributes.dtype) or 1.0
    before = [layer.momentum for layer in layers]
    stream = batches(training, order, config.batch_size, transform=transform, readers=readers)
    try:
        for count, batch in enumerate(stream):
            for layer in layers:
                layer.momentum = count / (count + 1)  # which makes the running average a mean
            frames(keras.ops.cast(batch.values, "float32") * factor, training=True)
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
