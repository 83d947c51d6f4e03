"""The chunks of a cache: one sample, one file, encoded, digested, written once and checked on every read."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numcodecs.blosc import Blosc

from cache.confined import UnexpectedFile, check_inside, open_regular
from cache.durable import write_durably
from cache.errors import CacheError, DamagedSample, MissingSample, UnreadableSample
from cache.fingerprint import digest_bytes, digest_stream
from cache.oserrors import ABSENT, cannot_read, reason
from cache.schema import VOLUME, Entry, Layout, scale_factor
from cache.write_errors import write_errors

# Measured on a real scan (docs/decisions.md): as small as zstd within 8 %, and read twice as fast.
BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": Blosc.BITSHUFFLE}
BLOSC_HEADER = 16  # bytes, which no chunk takes beyond those of its values


def chunk_path(root: Path, row: int, layout: Layout = VOLUME) -> Path:
    return root / layout.chunk(row)


def write_chunk(root: Path, row: int, values: np.ndarray, dtype: str, linked: str = "") -> tuple[int, str]:
    """Store `values`, float in [0, 1] or already of `dtype`, as the chunk of `row`; return its size and digest.

    On return the chunk would survive a power cut. Any number of processes may write different rows at once.
    """
    encoded = encode(values, dtype)
    write_encoded(root, row, encoded, VOLUME, linked)
    return len(encoded), digest_bytes(encoded)


def write_encoded(root: Path, row: int, encoded: bytes, layout: Layout, linked: str = "") -> None:
    """Make `encoded` the chunk of `row`, durably. Raises CacheError where that cannot be."""
    with write_errors(root):
        scratch = root / layout.array / "partial"
        check_inside(root, scratch, linked)
        check_inside(root, root / layout.array / "c", linked)
        scratch.mkdir(parents=True, exist_ok=True)
        write_durably(root, chunk_path(root, row, layout), encoded, scratch, linked)


def encode(values: np.ndarray, dtype: str, layout: Layout = VOLUME) -> bytes:
    """The bytes of a chunk: what Zarr's bytes and blosc codecs give for `values` stored as `dtype`."""
    fitted = quantise(values, dtype) if layout.bounded else finite(values, dtype)
    stored = np.ascontiguousarray(fitted.astype(np.dtype(dtype).newbyteorder("<"), copy=False))
    return bytes(Blosc(**BLOSC).encode(stored))


def finite(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` as the float `dtype`. Raises ValueError where one is not a finite number, or too large for it."""
    with np.errstate(over="ignore"):
        stored = values.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(stored))[0]))
        raise ValueError(f"{values[place]} at {place}, expected finite numbers that {dtype} can hold")
    return stored


def quantise(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` in [0, 1] as `dtype`, integers rounded to the nearest level; values of `dtype` pass unchanged.

    Raises ValueError where a float is outside [0, 1] or not a number.
    """
    if values.dtype.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"values from {values.min()} to {values.max()}, expected 0 to 1")
    scale = scale_factor(dtype)
    if scale is None or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    levels = values * values.dtype.type(1 / scale)
    return np.rint(levels, out=levels).astype(dtype)


def read_chunk(root: Path, entry: Entry, shape: tuple[int, ...], dtype: str, layout: Layout = VOLUME) -> np.ndarray:
    """The stored values of `entry`, exactly as written.

    Raises DamagedSample unless every byte is as recorded, UnreadableSample where the system does not give the bytes.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if entry.nbytes > needed + BLOSC_HEADER:
        raise DamagedSample(f"{entry.id}: a chunk of {entry.nbytes} bytes is recorded, {shape} {dtype} takes {needed}")
    encoded = checked_bytes(root, entry, layout)
    held = int.from_bytes(encoded[4:8], "little")
    if held != needed:  # `held` is from Blosc's header; nothing is allocated before it is known to be right
        raise DamagedSample(f"{entry.id}: its chunk holds {held} bytes of values, {shape} {dtype} takes {needed}")
    stored = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    try:
        Blosc().decode(encoded, stored)
    except (RuntimeError, ValueError) as error:
        raise DamagedSample(f"{entry.id}: chunk of row {entry.row} does not decode: {error}") from error
    return stored


def checked_bytes(root: Path, entry: Entry, layout: Layout = VOLUME) -> bytes:
    """The encoded chunk of `entry` after comparing its size and digest with the record.

    Raises DamagedSample (MissingSample where there is none), and UnreadableSample where the system does not give the
    bytes.
    """
    with _open_chunk(root, entry, layout) as file:
        encoded = file.read(entry.nbytes)
    if digest_bytes(encoded) != entry.digest:
        raise _not_as_written(root, entry, layout)
    return encoded


def check_chunk(root: Path, entry: Entry, layout: Layout = VOLUME) -> None:
    """As `checked_bytes`, but without holding more than a block of them in memory."""
    with _open_chunk(root, entry, layout) as file:
        digest = digest_stream(file)
    if digest != entry.digest:
        raise _not_as_written(root, entry, layout)


def _not_as_written(root: Path, entry: Entry, layout: Layout) -> DamagedSample:
    path = chunk_path(root, entry.row, layout)
    return DamagedSample(f"{entry.id}: chunk {path} is not what was written, its digest differs; {_rebuild(layout)}")


def _rebuild(layout: Layout) -> str:
    return f"{layout.remedy} to rebuild it from its source"


@contextmanager
def _open_chunk(root: Path, entry: Entry, layout: Layout) -> Iterator[BinaryIO]:
    """The chunk file of `entry`, of the recorded size. Raises as `checked_bytes` does, in the block too."""
    path = chunk_path(root, entry.row, layout)
    if not entry.digest:
        raise DamagedSample(f"{entry.id}: {entry.reason or 'it has no digest to check'}; {_rebuild(layout)}")
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.nbytes:
                raise DamagedSample(
                    f"{entry.id}: chunk {path} has {size} bytes, recorded {entry.nbytes}; {_rebuild(layout)}"
                )
            yield file
    except CacheError:  # some are an OSError too
        raise
    except UnexpectedFile as error:
        raise MissingSample(f"{entry.id}: chunk {path} is missing ({error}); {_rebuild(layout)}") from error
    except OSError as error:
        if error.errno in ABSENT:
            gone = f"{root} is no longer there: restore it, or open it where it is now"
            todo = _rebuild(layout) if root.is_dir() else gone
            raise MissingSample(f"{entry.id}: chunk {path} is missing ({reason(error)}); {todo}") from error
        lost = f"; if the file is lost, delete it and {_rebuild(layout)}" if error.errno == errno.EIO else ""
        raise UnreadableSample(f"{entry.id}: {cannot_read(path, error)}{lost}") from error
