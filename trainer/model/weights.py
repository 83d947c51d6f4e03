"""Initial weights of a model: ImageNet's, those in a file, or those of an earlier run."""

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
from trainer.model.backbone import Backbone, get_backbone
from trainer.runs.files import raise_where_unreadable

WEIGHT_BYTES = 12  # of one weight in a file, at most: float64, or float32 with two values of an optimizer
STRUCTURE_BYTES = 1 << 26  # of names and structure in a file, at most
MAX_BACKBONE_BYTES = 1 << 30  # a file may also hold dense layers, which are not loaded; VGG-16's is half as large
WEIGHTS_HINT = "give a Keras weights file of the backbone, --weights PATH, or --weights none"


def load_backbone(model: keras.Model, name: str, weights: str) -> None:
    """Load initial weights into `model`, the backbone `name`.

    `weights` is "imagenet" (downloaded once by Keras), "none", or the path of a Keras weights file. Raises TrainerError
    where they cannot be loaded.
    """
    if weights == "none":
        return
    backbone = get_backbone(name)
    if not backbone.has_imagenet_weights:
        raise TrainerError(f"weights {weights!r} with backbone {name}, which is always trained; use --weights none")
    if weights == "imagenet":
        model.set_weights(_imagenet(backbone))
    else:
        _load_file(model, backbone, absolute(weights))


def _imagenet(backbone: Backbone) -> list[Any]:
    """The weights that Keras downloads; it keeps them in its own cache folder."""
    try:
        with redirect_stdout(io.StringIO()):  # Keras prints the progress of a download, where we may print JSON
            return list(backbone.build((backbone.min_side, backbone.min_side, 3), "imagenet").get_weights())
    except Exception as error:  # Keras raises a bare Exception where the download fails
        raise TrainerError(
            f"cannot download the ImageNet weights of {backbone.title} ({_first_line(error)}); {WEIGHTS_HINT}"
        ) from error


def _load_file(model: keras.Model, backbone: Backbone, path: Path) -> None:
    if not path.exists() or path.is_dir():
        raise TrainerError(f"weights {path}: no such file; {WEIGHTS_HINT}")
    if path.suffix not in (".h5", ".keras"):
        raise TrainerError(f"weights {path}: expected a Keras weights file, .weights.h5 or .h5; {WEIGHTS_HINT}")
    try:
        _load_arrays(model, path)
    except Exception as error:  # whatever a broken or foreign file makes Keras raise
        raise_where_unreadable(path, error)
        raise TrainerError(
            f"weights {path} are not those of {backbone.title} without its top ({_first_line(error)}); {WEIGHTS_HINT}"
        ) from error


def load_model(model: keras.Model, path: Path) -> None:
    """Load the weights in the `.keras` file at `path` into `model`; only arrays are read from it.

    Raises TrainerError where the file does not hold the weights of this model.
    """
    try:
        _load_arrays(model, path)
    except Exception as error:  # whatever a broken or foreign file makes Keras raise
        raise_where_unreadable(path, error)
        raise TrainerError(
            f"{path} does not hold this run's weights ({_first_line(error)}); restore it from a copy, or train again"
        ) from error


def _load_arrays(model: keras.Model, path: Path) -> None:
    """Load the arrays in `path`, after checking that it is not larger than the weights of `model` can be.

    All checksums of a zip are compared first: Keras reads parts of it only.
    """
    max_bytes = WEIGHT_BYTES * model.count_params() + STRUCTURE_BYTES
    with open_regular(path, max(max_bytes, MAX_BACKBONE_BYTES)) as stream:
        if path.suffix == ".keras":
            with zipfile.ZipFile(stream) as archive:
                size = sum(member.file_size for member in archive.infolist())
                if size > max_bytes:
                    raise ValueError(f"{size:,} bytes are packed in it, expected at most {max_bytes:,}")
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one for each layer that is not in the file, before an error
        model.load_weights(path)


def copy_weights(model: keras.Model, parent: keras.Model) -> None:
    """Copy the weights of every layer of `parent` but the last, whose classes may differ."""
    for layer in model.layers[:-1]:
        layer.set_weights(parent.get_layer(layer.name).get_weights())


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
