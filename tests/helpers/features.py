"""Caches of random features."""

import numpy as np

from cache import catalog, store, write_features
from cache.schema import FEATURES

NAMES = ("one", "two")


def some_features(count=5, shape=(4, 6), dtype=np.float16):
    """Random features, different for each sample: some are zero, some larger than 1, some negative."""
    values = np.random.default_rng(7).normal(0.5, 3, (count, *shape))
    return np.where(np.abs(values) < 0.5, 0, values).astype(dtype)


def write(path, array=None, ids=None, labels=None, groups=None, **options):
    array = some_features() if array is None else array
    ids = [f"s{number}" for number in range(len(array))] if ids is None else ids
    return write_features(path, ids, labels, groups, array, **{"class_names": NAMES, "extractor": "mine"} | options)


def chunk_of(path, row, layout=FEATURES):
    return store.chunk_path(path, row, layout)


def spoiled(value, dtype=np.float32):
    array = some_features(dtype=dtype)
    array[3, 1, 2] = value
    return array


def entries_of(path):
    return catalog.read_entries(path)


def times(path):
    return {file: file.stat().st_mtime_ns for file in (path / "features" / "c").rglob("*") if file.is_file()}
