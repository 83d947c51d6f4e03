"""The contract between preprocessing and training: a Zarr cache of equally shaped volumes, checked on every read."""

from cache.errors import CacheError, CacheLocked, DamagedSample, NotACache, RecipeMismatch, UnknownSample
from cache.reader import Cache, open_cache

__version__ = "0.1.0"
__all__ = [
    "Cache",
    "CacheError",
    "CacheLocked",
    "DamagedSample",
    "NotACache",
    "RecipeMismatch",
    "UnknownSample",
    "open_cache",
]
