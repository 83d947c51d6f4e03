"""The contract between preprocessing and training: a Zarr cache of equally shaped samples, checked on every read."""

from cache.errors import (
    CacheError,
    CacheLocked,
    DamagedSample,
    InvalidFeatures,
    NotACache,
    RecipeMismatch,
    UnknownSample,
    UnreadableSample,
)
from cache.features import write_features
from cache.reader import Cache, open_cache

__version__ = "0.1.0"
__all__ = [
    "Cache",
    "CacheError",
    "CacheLocked",
    "DamagedSample",
    "InvalidFeatures",
    "NotACache",
    "RecipeMismatch",
    "UnknownSample",
    "UnreadableSample",
    "open_cache",
    "write_features",
]
