"""The interface of a backbone, the CNN that turns each slice into features.

A module in `trainer/model/backbones/` defines `BACKBONE`, a `Backbone`; its file name is the name for
`--backbone`. Adding that one file adds the backbone. Such a module imports Keras inside functions only, so that
configurations can be checked without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cache.registry import load

PACKAGE = "trainer.model.backbones"
Shape = tuple[int, int, int]
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Backbone:
    """How a backbone is built, its input, and its default settings.

    Arguments:
        title: Its name in messages, such as "VGG-16".
        build: `(shape, weights)` → Keras model, images float32 (n, height, width, 3) → features (n, channels). `shape`
            is (height, width, 3); `weights` is None for random initial values, or "imagenet".
        input_scale, input_offset: The backbone expects `scale * gray + offset` in each of its three channels, where
            `gray` is in [0, 1]; for a backbone with ImageNet weights this is its family's preprocessing.
        channels: Number of features of a slice.
        min_side: Smallest height and width of a slice, in pixels.
        has_batch_norm: Whether it normalises over the batch. While it is trained, all slices of a step must then go
            through it at once: statistics of a block of slices are different statistics.
        has_imagenet_weights: Whether `build` takes "imagenet".
        block_pixels: Slices go through the backbone in blocks of about this many pixels, which bounds memory. None for
            a small backbone that always takes all slices at once.
        defaults: Its values of `Config` fields, where they differ from the paper's.
    """

    title: str
    build: Callable[[Shape, str | None], Any]
    input_scale: RGB
    input_offset: RGB
    channels: int
    min_side: int
    has_batch_norm: bool = False
    has_imagenet_weights: bool = True
    block_pixels: int | None = 5 * 224 * 224
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def can_be_cut_into_blocks(self, frozen: bool) -> bool:
        """Whether blocks of slices give the same result as all slices at once; `frozen`: it is not trained."""
        return self.block_pixels is not None and (frozen or not self.has_batch_norm)


def get_backbone(name: str) -> Backbone:
    """The backbone `name`, without loading Keras. Raises KeyError where there is no such backbone."""
    backbone: Backbone = load(PACKAGE, name, "BACKBONE")
    return backbone
