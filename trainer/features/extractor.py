"""The extractor of a cache of features: the layers before the RNN, identified by a digest of their weights.

A cache of features keeps those weights next to its ledger. Training on it can therefore save the full network, and
features from other weights are recognised by the digest, not by the path of a file.
"""

import io
from typing import Any

import keras
import numpy as np

from cache import Cache
from cache.feature_writer import extractor_path
from cache.features import feature_attributes
from cache.fingerprint import digest_bytes
from cache.schema import Attributes
from trainer.data.arrays import read_arrays
from trainer.errors import TrainerError
from trainer.runs.files import raise_where_unreadable


def feature_recipe(model: keras.Model, volumes: Cache, angles: tuple[float, ...] = ()) -> Attributes:
    """The attributes of a cache of the features that `model` computes from `volumes`, its recipe included."""
    frames = model.get_layer("frames")
    _, depth, channels = frames.output.shape
    extractor = {"name": frames.backbone_name, "weights": digest_of(model), "precision": frames.dtype_policy.name}
    return feature_attributes(depth, channels, volumes.class_names, extractor, angles=angles, volumes=volumes)


def digest_of(model: keras.Model) -> str:
    """The digest of the weights that features depend on: those of the backbone and of the convolution before it."""
    return digest_bytes(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_layer("frames").get_weights()))


def pack_weights(model: keras.Model) -> bytes:
    """The same weights as an `.npz` file."""
    buffer = io.BytesIO()
    weights = model.get_layer("frames").get_weights()
    np.savez(buffer, **{f"w{number}": weight for number, weight in enumerate(weights)})
    return buffer.getvalue()


def extractor_of(features: Cache) -> dict[str, Any]:
    """The extractor in the recipe of `features`; {} where it is not one of this project's backbones."""
    extractor = features.recipe.get("extractor")
    return extractor if isinstance(extractor, dict) and "weights" in extractor else {}


def load_extractor(model: keras.Model, features: Cache) -> None:
    """Load the weights that computed `features` into `model`. Raises TrainerError where they are missing or damaged."""
    path = extractor_path(features.path)
    remedy = f"run `features` into {features.path} again"
    frames = model.get_layer("frames")
    max_bytes = {f"w{number}": 8 * weight.size for number, weight in enumerate(frames.get_weights())}
    try:
        arrays = read_arrays(path, max_bytes)
        frames.set_weights([arrays[name] for name in max_bytes])
    except Exception as error:  # whatever a broken file makes NumPy or Keras raise
        raise_where_unreadable(path, error)
        raise TrainerError(
            f"{path} does not hold the weights that computed the features ({error}); {remedy}"
        ) from error
    if digest_of(model) != extractor_of(features).get("weights"):
        raise TrainerError(f"{path} holds other weights than those that computed the features; {remedy}")


def check_features(features: Cache, volumes: Cache, model: keras.Model, ids: tuple[str, ...]) -> None:
    """Raises TrainerError unless `features` are those that `model` computes from the samples `ids` of `volumes`."""
    again = f"run `features {volumes.path} {features.path}` again, or into another folder"
    if features.recipe.get("source") != volumes.recipe:
        raise TrainerError(f"{features.path} holds features of another cache than {volumes.path}; {again}")
    if digest_of(model) != extractor_of(features).get("weights"):
        raise TrainerError(
            f"{features.path} holds features of other weights than this run has before its RNN; leave --weights out, "
            f"or {again}"
        )
    stale = [name for name in ids if not _is_fresh(features, volumes, name)]
    if stale:
        raise TrainerError(
            f"{features.path} lacks features of {volumes.path}, or has them of volumes that were replaced since: "
            f"{len(stale)} of {len(ids)}, the first is {stale[0]!r}; {again}"
        )


def _is_fresh(features: Cache, volumes: Cache, name: str) -> bool:
    return name in features and features.entry(name).source.digest == volumes.entry(name).digest
