"""ResNet-50 (He et al. 2015): 23.6 million weights, a quarter of VGG-16's arithmetic, batch normalisation."""

from typing import Any

from trainer.model.backbone import Backbone, Shape

MEANS = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red, in 0..255


def build(shape: Shape, weights: str | None) -> Any:
    """The convolutions of `keras.applications.ResNet50`, averaged over each slice."""
    import keras

    return keras.applications.ResNet50(include_top=False, weights=weights, input_shape=shape, pooling="avg")


BACKBONE = Backbone(
    title="ResNet-50",
    build=build,
    input_scale=(255.0, 255.0, 255.0),
    input_offset=(-MEANS[0], -MEANS[1], -MEANS[2]),
    channels=2048,
    min_side=32,
    has_batch_norm=True,
)
