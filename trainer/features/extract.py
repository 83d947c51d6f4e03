"""Volumes → features, once: what the frozen backbone says of every slice, for training that starts behind it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cache import Cache, open_cache
from cache.features import pending, source_of, writing_features
from cache.fingerprint import digest_bytes
from cache.paths import make_absolute
from cache.schema import Attributes
from trainer.data.augment import ANGLES, rotate
from trainer.data.inputs import check_side
from trainer.data.stream import READERS, Meter, Transform, batches, subset
from trainer.errors import TrainerError
from trainer.features.extractor import attributes_of, weights_of
from trainer.model.networks import initial_model, trained_model
from trainer.model.viptt_net import encoder_model
from trainer.runs.folder import enclosing_cache
from trainer.runs.plan import check_parent, configure, new_run
from trainer.runs.run import read_run

BLOCK_PIXELS = 16 * 224 * 224  # of the slices that go through the backbone at a time
BLOCKS = 4  # of these that are read at a time: as many samples as have their pixels


@dataclass(frozen=True)
class Extraction:
    """What a user asks for: features of the samples of `cache` in `features`.

    They are made by the backbone that `given`, fields of Config set by hand, says; or by that of `run`.
    """

    cache: Path
    features: Path
    given: dict[str, Any]
    run: Path | None = None
    augment: bool = False
    readers: int = READERS
    linked: str = ""  # the array's folder in `features`, where that may be a link

    def __post_init__(self) -> None:
        make_absolute(self, "cache", "features", "run")


@dataclass(frozen=True)
class Extracted:
    """How an extraction ended: samples `made` and `kept`, ids `vanished` from the volumes, frames a second."""

    made: int
    kept: int
    vanished: list[str]
    rate: float
    stalled: float


def extract(request: Extraction, progress: Callable[[int, int], None]) -> Extracted:
    """Make the features that are missing, or that are of other volumes than the cache holds now; keep all others.

    A kill loses the samples of the last seconds at most. Raises TrainerError, CacheError.
    """
    volumes = open_cache(request.cache)
    if volumes.kind == "features":
        raise TrainerError(f"{request.cache} holds features; expected a cache of scans or clips")
    if outer := enclosing_cache(request.features.resolve().parent):
        raise TrainerError(f"{request.features} is inside the cache {outer}; choose FEATURES elsewhere")
    model = _network(request, volumes)
    attributes = attributes_of(model, volumes, ANGLES if request.augment else ())
    work = pending(volumes, request.features, attributes)
    encoder = FrameFeatures(model, volumes)
    with writing_features(request.features, attributes, volumes.ids, request.linked) as writer:
        writer.keep_extractor(weights_of(model))
        writer.follow(volumes)
        sources = {name: source_of(volumes, name) for name in work.to_make}
        meter = Meter()
        progress(0, len(work.to_make))
        for done, (name, values) in enumerate(_features(encoder, volumes, work.to_make, attributes, request, meter)):
            entry = volumes.entry(name)
            writer.put(name, values, entry.label, entry.group, sources[name])
            progress(done + 1, len(work.to_make))
        timing = meter.row()
    rate = len(work.to_make) * math.prod(attributes.shape[:-1]) / max(timing["seconds"], 1e-9)
    return Extracted(len(work.to_make), work.kept, work.vanished, rate, timing["stalled"])


def _network(request: Extraction, volumes: Cache) -> keras.Model:
    """The network whose frames are wanted."""
    if request.run is None:
        config = configure("pretrain" if volumes.kind == "video" else "finetune", request.given)
        check_side(volumes, config.backbone)
        return initial_model(new_run(volumes, config))
    for name, value in request.given.items():
        raise TrainerError(f"{name} {value} with --from, whose run has its own; leave one of them out")
    run = read_run(request.run)
    if run.kind == "features":
        raise TrainerError(f"{request.run} was trained on features alone and has no backbone; give a run on volumes")
    check_parent(run, volumes)
    return trained_model(request.run, run)


class FrameFeatures:
    """Slices → features, a block at a time, whatever samples they are of; equal ones, such as empty ones, once."""

    def __init__(self, model: keras.Model, volumes: Cache) -> None:
        _, depth, height, width = model.input_shape
        most = max(1, BLOCK_PIXELS // (height * width))
        self.block = math.ceil(depth / math.ceil(depth / most)) if most < depth else most  # the last one filled too
        self.channels = model.get_layer("frames").output.shape[-1]
        self.model = encoder_model(model, self.block, volumes.attributes.dtype)

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        """float16 (n, channels) of (n, height, width) as stored."""
        place: dict[str, int] = {}
        of_each = [place.setdefault(digest_bytes(one.tobytes()), len(place)) for one in slices]
        different = slices[np.unique(of_each, return_index=True)[1]]
        found = np.empty((len(different), self.channels), np.float16)
        for first in range(0, len(different), self.block):
            some = different[first : first + self.block]
            block = np.zeros((1, self.block, *slices.shape[1:]), slices.dtype)  # always of one shape: compiled once
            block[0, : len(some)] = some
            with np.errstate(over="ignore"):  # what float16 cannot hold is refused when stored, with the sample named
                found[first : first + self.block] = self.model.predict_on_batch(block)[0, : len(some)]
        return found[of_each]


def _features(
    encoder: FrameFeatures,
    volumes: Cache,
    ids: list[str],
    attributes: Attributes,
    request: Extraction,
    meter: Meter,
) -> Iterator[tuple[str, np.ndarray]]:
    """Each id and its features, of the shape that `attributes` has."""
    part, sets = subset(volumes, ids), max(1, len(attributes.angles))
    size = max(1, BLOCKS * BLOCK_PIXELS // (sets * math.prod(volumes.shape)))
    transform: Transform | None = partial(_turned, attributes.angles) if attributes.angles else None
    names = iter(ids)
    for batch in batches(part, np.arange(len(part)), size, transform=transform, meter=meter, readers=request.readers):
        found = encoder(batch.values.reshape((-1, *volumes.shape[1:])))
        for values in found.reshape((len(batch.values), *attributes.shape)):
            yield next(names), values


def _turned(angles: tuple[float, ...], stored: np.ndarray, name: str) -> np.ndarray:
    """One turned copy for each angle: (angles, depth, height, width)."""
    return np.stack([rotate(stored, angle) for angle in angles])
