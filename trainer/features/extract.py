"""Feature extraction: run the frozen backbone once on every slice, so that training can start from its features."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cache import Cache, open_cache
from cache.feature_writer import source_of, writing_features
from cache.features import pending
from cache.paths import make_absolute
from cache.progress import Callback
from cache.schema import Attributes
from trainer.data.augment import ANGLES, rotate
from trainer.data.inputs import check_side
from trainer.data.stream import READERS, Meter, Transform, batches, subset
from trainer.errors import TrainerError
from trainer.features.encode import FrameFeatures, block_pixels
from trainer.features.extractor import feature_recipe, pack_weights
from trainer.model.networks import initial_model, trained_model
from trainer.model.predict import one_late
from trainer.runs.folder import enclosing_cache
from trainer.runs.plan import check_parent, configure, run_with
from trainer.runs.run import read_run

BLOCKS_PER_BATCH = 4  # a batch that is read has as many samples as fit into this many blocks


@dataclass(frozen=True)
class Extraction:
    """A request for features of the samples of `cache`, to be stored in `features`.

    The backbone is that of `settings`, the fields of Config that the user set, or of `run`. `linked` is the folder
    of the array in `features` if that may be a link.
    """

    cache: Path
    features: Path
    settings: dict[str, Any]
    run: Path | None = None
    augment: bool = False
    readers: int = READERS
    linked: str = ""

    def __post_init__(self) -> None:
        make_absolute(self, "cache", "features", "run")


@dataclass(frozen=True)
class Extracted:
    """The result of an extraction: numbers of samples `made` and `kept`, and ids `vanished` from the volumes.

    `rate` is in frames per second; `data_wait` is the share of time spent waiting for data.
    """

    made: int
    kept: int
    vanished: list[str]
    rate: float
    data_wait: float


def extract(request: Extraction, callback: Callback) -> Extracted:
    """Compute the features that are missing, or whose volumes changed since; keep all others.

    A kill loses at most the samples of the last seconds. Raises TrainerError, CacheError.
    """
    volumes = open_cache(request.cache)
    if volumes.kind == "features":
        raise TrainerError(f"{request.cache} holds features; expected a cache of scans or clips")
    if outer := enclosing_cache(request.features.resolve().parent):
        raise TrainerError(f"{request.features} is inside the cache {outer}; choose FEATURES elsewhere")
    model = _model_with_backbone(request, volumes)
    attributes = feature_recipe(model, volumes, ANGLES if request.augment else ())
    work = pending(volumes, request.features, attributes)
    encoder = FrameFeatures(model, volumes)
    total = len(work.to_make)
    with writing_features(request.features, attributes, volumes.ids, request.linked) as writer:
        writer.keep_extractor(pack_weights(model))
        writer.follow(volumes)
        sources = {name: source_of(volumes, name) for name in work.to_make}
        meter = Meter()
        callback.on_progress(0, total)
        for done, (name, values) in enumerate(_features(encoder, volumes, work.to_make, attributes, request, meter)):
            entry = volumes.entry(name)
            writer.put(name, values, entry.label, entry.group, sources[name])
            callback.on_progress(done + 1, total)
        timing = meter.row()
    rate = total * math.prod(attributes.shape[:-1]) / max(timing["seconds"], 1e-9)
    return Extracted(total, work.kept, work.vanished, rate, timing["data_wait"])


def _model_with_backbone(request: Extraction, volumes: Cache) -> keras.Model:
    """The full network whose frame encoder computes the features."""
    if request.run is None:
        config = configure("pretrain" if volumes.kind == "video" else "finetune", request.settings)
        check_side(volumes, config.backbone)
        return initial_model(run_with(volumes, config))
    for name, value in request.settings.items():
        raise TrainerError(f"{name} {value} with --from, whose run has its own; leave one of them out")
    run = read_run(request.run)
    if run.kind == "features":
        raise TrainerError(f"{request.run} was trained on features alone and has no backbone; give a run on volumes")
    check_parent(run, volumes)
    return trained_model(request.run, run)


def _features(
    encoder: FrameFeatures,
    volumes: Cache,
    ids: list[str],
    attributes: Attributes,
    request: Extraction,
    meter: Meter,
) -> Iterator[tuple[str, np.ndarray]]:
    """Each id and its features, of the shape in `attributes`."""
    samples, sets = subset(volumes, ids), max(1, len(attributes.angles))
    size = max(1, BLOCKS_PER_BATCH * block_pixels() // (sets * math.prod(volumes.shape)))
    transform: Transform | None = partial(_all_angles, attributes.angles) if attributes.angles else None
    order, names = np.arange(len(samples)), iter(ids)
    stream = batches(samples, order, size, transform=transform, meter=meter, readers=request.readers)
    started = (encoder.start(batch.values.reshape((-1, *volumes.shape[1:]))) for batch in stream)
    for features in map(encoder.finish, one_late(started)):
        for values in features.reshape((-1, *attributes.shape)):
            yield next(names), values


def _all_angles(angles: tuple[float, ...], stored: np.ndarray, name: str) -> np.ndarray:
    """One rotated copy for each angle: (angles, depth, height, width)."""
    return np.stack([rotate(stored, angle) for angle in angles])
