"""A small backbone for demonstrations and CPUs: four strided convolutions, 25,040 weights, trained from scratch."""

from typing import Any

from trainer.model.backbone import Backbone, Shape

FILTERS = (8, 16, 32, 64)


def build(shape: Shape, weights: str | None) -> Any:
    """Four convolutions, the mean and the maximum of each channel, batch normalisation.

    The mean of a channel shows the size of objects, its maximum shows small lesions. Untrained features hardly differ
    from slice to slice, and an RNN learns nothing from them until they are centred and scaled over the batch.
    """
    import keras

    image = keras.Input(shape)
    x = image
    for number, filters in enumerate(FILTERS, start=1):
        x = keras.layers.Conv2D(
            filters, 3, 2, "same", activation="relu", kernel_initializer="he_normal", name=f"conv{number}"
        )(x)
    pools = [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    features = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Concatenate()(pools))
    return keras.Model(image, features, name="small")


BACKBONE = Backbone(
    title="small",
    build=build,
    input_scale=(1.0, 1.0, 1.0),
    input_offset=(-0.5, -0.5, -0.5),
    channels=2 * FILTERS[-1],
    min_side=16,
    has_batch_norm=True,
    has_imagenet_weights=False,
    block_pixels=None,
    # It starts untrained: it is trained in both stages, by an optimizer that converges quickly.
    defaults={"freeze_backbone": False, "weights": "none", "optimizer": "adam", "precise_batch_norm": True},
)
