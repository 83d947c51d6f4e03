"""EfficientNetV2-B0 (Tan & Le 2021): 5.9 million weights, 1/20 of VGG-16's arithmetic, batch normalisation."""

from typing import Any

from trainer.model.backbone import Backbone, Shape

MEANS = (0.485, 0.456, 0.406)  # of ImageNet's red, green and blue, in 0..1
DEVIATIONS = (0.229, 0.224, 0.225)


def build(shape: Shape, weights: str | None) -> Any:
    """The convolutions of `keras.applications.EfficientNetV2B0`, averaged over each slice, without stochastic depth.

    Stochastic depth would draw random numbers while training, and a resumed run could not repeat them.
    """
    import keras

    model = keras.applications.EfficientNetV2B0(
        include_top=False, weights=weights, input_shape=shape, pooling="avg", include_preprocessing=False
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


BACKBONE = Backbone(
    title="EfficientNetV2-B0",
    build=build,
    input_scale=(1 / DEVIATIONS[0], 1 / DEVIATIONS[1], 1 / DEVIATIONS[2]),
    input_offset=(-MEANS[0] / DEVIATIONS[0], -MEANS[1] / DEVIATIONS[1], -MEANS[2] / DEVIATIONS[2]),
    channels=1280,
    min_side=32,
    has_batch_norm=True,
)
