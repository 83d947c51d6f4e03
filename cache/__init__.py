"""The contract between preprocessing and training: a Zarr cache of equally shaped samples, checked on every read."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Import NumPy and Zarr only when they are used, so that `--help` answers at once."""
    if name in ("Cache", "open_cache"):
        from cache import reader

        return getattr(reader, name)
    if name == "write_features":
        from cache import features

        return features.write_features
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
