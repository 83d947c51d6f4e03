"""How many slices go through the backbone at once: all of them where the device's memory allows, else blocks of them.

Blocks save memory, since their activations are computed again in the backward pass, at a third more arithmetic.
"""

import math

import keras

from trainer.config import Config
from trainer.model.backbone import Backbone, get_backbone

# Memory of a training step, as multiples of the outputs of all layers of the backbone. Measured for VGG-16 on an H100,
# 2×70×224×224, all slices at once: 19.7 GB in float32 and 11.9 GB in bfloat16 trained, 6.5 GB in bfloat16 frozen.
TRAINED = {"float32": 2.5, "mixed_bfloat16": 3.0}
FROZEN = {"float32": 1.7, "mixed_bfloat16": 1.7}
USABLE = 0.9  # of the free memory
VALUE_BYTES = {"float32": 4, "mixed_bfloat16": 2}
WEIGHT_COPIES = 4  # float32 weights, their gradients, and up to two values of the optimizer


def slices_at_once(config: Config, backbone_model: keras.Model, depth: int, free: int | None) -> int:
    """How many slices of each of a step's volumes go through the backbone at a time; 0 for all `depth` of them.

    `free` is the memory of the device in bytes, None where it is unknown, as on a CPU: then blocks have a fixed size.
    """
    backbone = get_backbone(config.backbone)
    if not backbone.can_be_cut_into_blocks(config.freeze_backbone):
        return 0
    if config.slices_per_step:
        return config.slices_per_step
    if free is None:
        return fixed_block(backbone, backbone_model)
    budget = USABLE * free - WEIGHT_COPIES * 4 * backbone_model.count_params()
    fitting = int(budget // (config.batch_size * slice_bytes(config, backbone_model)))
    return 0 if fitting >= depth else max(1, fitting)


def fixed_block(backbone: Backbone, backbone_model: keras.Model) -> int:
    """Slices in a block of about `block_pixels` pixels."""
    _, height, width, _ = backbone_model.input_shape
    assert backbone.block_pixels
    return max(1, backbone.block_pixels // (height * width))


def slice_bytes(config: Config, backbone_model: keras.Model) -> float:
    """An upper estimate of the memory that a slice takes in a training step, in bytes."""
    values = sum(math.prod(layer.output.shape[1:]) for layer in backbone_model.layers)
    copies = (FROZEN if config.freeze_backbone else TRAINED)[config.precision]
    return copies * VALUE_BYTES[config.precision] * values
