"""Where a model's first weights come from: ImageNet, a file, or an earlier run."""

from pathlib import Path
from typing import Any

import keras

from trainer.errors import TrainerError

WAY_OUT = "give a file of VGG-16's convolutions, --weights PATH, or --weights none"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError, IndexError)


def load_backbone(backbone: keras.Model, name: str, weights: str) -> None:
    """Give the backbone the weights asked for: "imagenet" (fetched once by Keras), "none", or a Keras weights file."""
    if weights == "none":
        return
    if name != "vgg16":
        raise TrainerError(
            f"weights {weights!r} for backbone {name}; there are some for vgg16 only, use --weights none"
        )
    if weights == "imagenet":
        backbone.set_weights(_imagenet())
    else:
        _load_file(backbone, Path(weights))


def _imagenet() -> list[Any]:
    """The weights of Keras' own VGG-16; they are kept in its cache folder after the first time."""
    try:
        return keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=(32, 32, 3)).get_weights()
    except Exception as error:  # Keras raises a bare Exception where the download fails
        raise TrainerError(f"cannot fetch the ImageNet weights ({_first_line(error)}); {WAY_OUT}") from error


def _load_file(backbone: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise TrainerError(f"weights {path}: no such file; {WAY_OUT}")
    if path.suffix not in (".h5", ".keras"):
        raise TrainerError(f"weights {path}: expected a Keras weights file, .weights.h5 or .h5; {WAY_OUT}")
    try:
        backbone.load_weights(path)
    except UNREADABLE as error:
        raise TrainerError(f"weights {path} are not VGG-16's convolutions ({_first_line(error)}); {WAY_OUT}") from error


def load_model(model: keras.Model, path: Path) -> None:
    """Give `model` the weights in the `.keras` file at `path`. Nothing but arrays is taken from the file."""
    try:
        model.load_weights(path)
    except UNREADABLE as error:
        raise TrainerError(
            f"{path} does not hold this run's weights ({_first_line(error)}); restore it from a copy, or train again"
        ) from error


def take_over(model: keras.Model, parent: keras.Model) -> None:
    """Copy every layer's weights of `parent` but those of its last one, whose classes are others."""
    for layer in model.layers[:-1]:
        layer.set_weights(parent.get_layer(layer.name).get_weights())


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
