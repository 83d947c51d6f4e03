"""VGG-16, the paper's backbone (Simonyan & Zisserman 2014; ViPTT-Net §2.2): 14.7 million weights."""

from typing import Any

from trainer.model.backbone import Backbone, Shape

MEANS = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red, in 0..255


def build(shape: Shape, weights: str | None) -> Any:
    """The convolutions of `keras.applications.VGG16`, averaged over each slice."""
    import keras

    from trainer.model.max_pooling import with_fast_pooling

    model = keras.applications.VGG16(include_top=False, weights=weights, input_shape=shape, pooling="avg")
    return with_fast_pooling(model) if keras.backend.backend() == "jax" else model


BACKBONE = Backbone(
    title="VGG-16",
    build=build,
    input_scale=(255.0, 255.0, 255.0),
    input_offset=(-MEANS[0], -MEANS[1], -MEANS[2]),
    channels=512,
    min_side=32,
)
