"""What made a cache of features: the layers before the RNN, told apart by a digest of their weights.

A cache of features keeps those weights beside its ledger. Training on it can therefore save the whole network, and
features of other weights are known by the digest, never by where a file was.
"""

import io
from typing import Any

import keras
import numpy as np

from cache import Cache
from cache.features import extractor_path, feature_attributes
from cache.fingerprint import digest_bytes
from cache.schema import Attributes
from trainer.data.arrays import read_arrays
from trainer.errors import TrainerError
from trainer.runs.files import raise_where_unreadable


def attributes_of(model: keras.Model, volumes: Cache, angles: tuple[float, ...] = ()) -> Attributes:
    """What a cache of the features that `model` makes of `volumes` says about itself."""
    frames = model.get_layer("frames")
    _, depth, channels = frames.output.shape
    extractor = {"name": frames.backbone_name, "weights": digest_of(model), "precision": frames.dtype_policy.name}
    return feature_attributes(depth, channels, volumes.class_names, extractor, angles=angles, volumes=volumes)


def digest_of(model: keras.Model) -> str:
    """The digest of all that features depend on: the weights of the backbone and of the map to its input."""
    return digest_bytes(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_layer("frames").get_weights()))


def weights_of(model: keras.Model) -> bytes:
    """Those weights as `.npz`."""
    buffer = io.BytesIO()
    weights = model.get_layer("frames").get_weights()
    np.savez(buffer, **{f"w{number}": weight for number, weight in enumerate(weights)})
    return buffer.getvalue()


def extractor_of(features: Cache) -> dict[str, Any]:
    """What the recipe of `features` says of their extractor; {} where they are not by this project's backbones."""
    extractor = features.recipe.get("extractor")
    return extractor if isinstance(extractor, dict) and "weights" in extractor else {}


def use_extractor(model: keras.Model, features: Cache) -> None:
    """Give `model` the weights that made `features`. Raises TrainerError where they are not there or not whole."""
    path = extractor_path(features.path)
    remedy = f"run `features` into {features.path} again"
    frames = model.get_layer("frames")
    most = {f"w{number}": 8 * weight.size for number, weight in enumerate(frames.get_weights())}
    try:
        arrays = read_arrays(path, most)
        frames.set_weights([arrays[name] for name in most])
    except Exception as error:  # whatever a broken file makes NumPy or Keras raise
        raise_where_unreadable(path, error)
        raise TrainerError(f"{path} does not hold the weights that made the features ({error}); {remedy}") from error
    if digest_of(model) != extractor_of(features).get("weights"):
        raise TrainerError(f"{path} holds other weights than those that made the features; {remedy}")


def check_features(features: Cache, volumes: Cache, model: keras.Model, ids: tuple[str, ...]) -> None:
    """Raises TrainerError unless `features` are those that `model` makes of the samples `ids` of `volumes`."""
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
