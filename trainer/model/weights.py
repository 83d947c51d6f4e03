"""Where a model's first weights come from: ImageNet, a file, or an earlier run."""

import io
import warnings
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras

from cache.confined import open_regular
from cache.paths import absolute
from trainer.errors import TrainerError
from trainer.runs.files import raise_where_unreadable

BYTES_OF_VALUE = 12  # of a weight in a file: float64, or float32 with two of an optimizer's
BYTES_BESIDE = 1 << 26  # of names and structure
BYTES_OF_VGG16 = 1 << 30  # a file of all of VGG-16, of which the convolutions are taken, has half of that
WAY_OUT = "give a file of VGG-16's convolutions, --weights PATH, or --weights none"


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
        _load_file(backbone, absolute(weights))


def _imagenet() -> list[Any]:
    """The weights of Keras' own VGG-16; they are kept in its cache folder after the first time."""
    try:
        with redirect_stdout(io.StringIO()):  # where Keras writes how the download goes, and we perhaps JSON
            vgg16 = keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
        return vgg16.get_weights()
    except Exception as error:  # Keras raises a bare Exception where the download fails
        raise TrainerError(f"cannot fetch the ImageNet weights ({_first_line(error)}); {WAY_OUT}") from error


def _load_file(backbone: keras.Model, path: Path) -> None:
    if not path.exists() or path.is_dir():
        raise TrainerError(f"weights {path}: no such file; {WAY_OUT}")
    if path.suffix not in (".h5", ".keras"):
        raise TrainerError(f"weights {path}: expected a Keras weights file, .weights.h5 or .h5; {WAY_OUT}")
    try:
        _load_arrays(backbone, path)
    except Exception as error:  # whatever a broken or foreign file makes Keras raise
        raise_where_unreadable(path, error)
        raise TrainerError(f"weights {path} are not VGG-16's convolutions ({_first_line(error)}); {WAY_OUT}") from error


def load_model(model: keras.Model, path: Path) -> None:
    """Give `model` the weights in the `.keras` file at `path`. Nothing but arrays is taken from the file."""
    try:
        _load_arrays(model, path)
    except Exception as error:  # whatever a broken or foreign file makes Keras raise
        raise_where_unreadable(path, error)
        raise TrainerError(
            f"{path} does not hold this run's weights ({_first_line(error)}); restore it from a copy, or train again"
        ) from error


def _load_arrays(model: keras.Model, path: Path) -> None:
    """Load what is in `path`, after checking that it is no larger than the weights of `model` can be.

    Of a zip every checksum is compared first: Keras reads here and there in it.
    """
    most = BYTES_OF_VALUE * model.count_params() + BYTES_BESIDE
    with open_regular(path, max(most, BYTES_OF_VGG16)) as stream:
        if path.suffix == ".keras":
            with zipfile.ZipFile(stream) as archive:
                size = sum(item.file_size for item in archive.infolist())
                if size > most:
                    raise ValueError(f"{size:,} bytes are packed in it, expected at most {most:,}")
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a line for each layer that is not in the file; then it raises
        model.load_weights(path)


def take_over(model: keras.Model, parent: keras.Model) -> None:
    """Copy every layer's weights of `parent` but those of its last one, whose classes are others."""
    for layer in model.layers[:-1]:
        layer.set_weights(parent.get_layer(layer.name).get_weights())


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
