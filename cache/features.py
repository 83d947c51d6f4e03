"""Caches of features: the output of any extractor for each sample, (depth, channels), or one such set for each angle.

`write_features` stores an array from anywhere. A program that computes features of the samples of a volume cache does

    attributes = feature_attributes(70, 512, volumes.class_names, extractor, volumes=volumes)
    work = pending(volumes, path, attributes)
    with writing_features(path, attributes, volumes.ids) as features:
        features.follow(volumes)
        for name in work.to_make:
            entry, source = volumes.entry(name), source_of(volumes, name)
            features.put(name, extract(volumes[name]), entry.label, entry.group, source)

The source of such a sample is its chunk in the volume cache, with the digest recorded there; so `pending` and `verify`
find features of volumes that have changed. Samples of `write_features` have no source and are never stale. Everything
else (rows, ledger, lock, the state after a kill) is as for volumes (`writer.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cache import catalog, store
from cache.errors import DamagedSample, InvalidFeatures
from cache.feature_checks import Extractor, checked_class_names, checked_extractor, checked_samples
from cache.feature_writer import is_made_from, writing_features
from cache.fingerprint import digest_recipe
from cache.paths import absolute, cache_root
from cache.reader import Cache, open_cache
from cache.resume import attributes_to_extend
from cache.schema import FEATURES, Attributes, Entry

VERSION = 1  # increases when the same features would be stored in another way


class Rows(Protocol):
    """The part of an array that `write_features` uses: a NumPy array, a memmap, or anything else that has rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, number: int, /) -> Any: ...


def write_features(
    path: str | Path,
    ids: Sequence[str],
    labels: Sequence[int | None] | np.ndarray | None,
    groups: Sequence[str | None] | None,
    array: Rows,
    class_names: Sequence[str],
    extractor: Extractor,
    dtype: str | None = None,
) -> Cache:
    """Store `array` (n, depth, channels) as the features of `ids` in a cache at `path`, and open it.

    `labels` count from 0 into `class_names`, -1 or None where unknown; samples of one group, such as a patient, stay on
    one side of a split; None for a sample of its own. `extractor` is text or JSON that identifies the extractor.
    `dtype` is float16 or float32, by default that of `array`, else float32. Rows are read one at a time.

    If `path` has features of the same extractor, shape and dtype, samples of other ids stay, equal ones are kept and
    changed ones replaced; so after a kill, or an error in a row, the same call resumes. Raises InvalidFeatures for
    values that cannot be stored, RecipeMismatch or CacheError where `path` is something else.
    """
    path = absolute(path)
    names = checked_class_names(class_names)
    samples = checked_samples(list(ids), labels, groups, len(names))
    shape = tuple(array.shape)
    if len(shape) != 3 or shape[0] != len(samples):
        raise InvalidFeatures(f"array of shape {shape}; expected ({len(samples)} ids, depth, channels)")
    array_dtype = getattr(array.dtype, "name", "")
    stored_dtype = dtype or (array_dtype if array_dtype in FEATURES.dtypes else "float32")
    attributes = feature_attributes(int(shape[1]), int(shape[2]), names, extractor, dtype=stored_dtype)
    with writing_features(path, attributes, {name for name, _, _ in samples}) as features:
        for number, (name, label, group) in enumerate(samples):
            features.put(name, np.asarray(array[number]), label, group)
    return open_cache(path)


def feature_attributes(
    depth: int,
    channels: int,
    class_names: Sequence[str],
    extractor: Extractor,
    *,
    dtype: str = "float16",
    angles: Sequence[float] = (),
    volumes: Cache | None = None,
) -> Attributes:
    """The attributes of a cache of features. Its recipe includes that of `volumes`, the cache that they come from.

    With `angles`, in degrees, a sample has one set of features for each. Raises InvalidFeatures.
    """
    size = {"dtype": dtype, "depth": depth, "channels": channels}
    rotations = {"angles": [float(angle) for angle in angles]} if len(angles) else {}  # 0 and 0.0 are one recipe
    origin = {} if volumes is None else {"source": volumes.recipe}
    sources = () if volumes is None else (str(volumes.path.resolve()),)
    made_by = {"extractor": checked_extractor(extractor)}
    recipe = {"kind": "features", "version": VERSION, **size, **rotations, **made_by, **origin}
    try:
        return Attributes("features", recipe, tuple(class_names), sources)
    except ValueError as error:
        raise InvalidFeatures(f"features of this shape cannot be stored: {error}") from error


@dataclass
class Pending:
    """The differences between a volume cache and its features.

    `to_make` are ids whose features are missing, stale or damaged; `kept` counts those whose features are up to date;
    `vanished` are ids that are no longer in the volume cache: their features stay.
    """

    to_make: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    kept: int = 0


def pending(volumes: Cache, path: str | Path, attributes: Attributes) -> Pending:
    """Compare the samples of `volumes` with the features in `path`; nothing is written.

    Features are up to date if they have this recipe, come from the recorded chunk of the volume cache, and are intact.
    Raises RecipeMismatch or CacheError where `path` cannot hold features of `attributes`.
    """
    root = cache_root(path)
    entries = catalog.read_entries(root) if attributes_to_extend(root, attributes.recipe) else {}
    recipe = digest_recipe(attributes.recipe)
    work = Pending()
    for sample in volumes.samples:
        entry = entries.get(sample.id)
        if entry and entry.recipe == recipe and is_made_from(entry, sample) and _is_intact(root, entry, attributes):
            work.kept += 1
        else:
            work.to_make.append(sample.id)
    work.vanished = [name for name in entries if name not in volumes]
    return work


def _is_intact(root: Path, entry: Entry, attributes: Attributes) -> bool:
    try:
        store.check_chunk(root, entry, attributes.layout)
        return True
    except DamagedSample:
        return False
