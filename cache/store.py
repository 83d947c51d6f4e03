"""Chunks of a cache: one file a sample, compressed, written once, and checked against its digest on every read."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numcodecs.blosc import Blosc

from cache.confined import UnexpectedFile, check_inside, open_regular
from cache.durable import flush_folder, write_durably
from cache.errors import CacheError, DamagedSample, MissingSample, UnreadableSample
from cache.fingerprint import digest_bytes, digest_stream
from cache.oserrors import ABSENT, cannot_read, reason
from cache.schema import VOLUME, Entry, Layout, scale_factor
from cache.write_errors import write_errors

# Within 8 % of the size of zstd, and read twice as fast: measured on a real scan (docs/decisions.md).
BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": Blosc.BITSHUFFLE}
BLOSC_HEADER = 16  # bytes; a chunk is never longer than its values and this


def chunk_path(root: Path, row: int, layout: Layout = VOLUME) -> Path:
    """The chunk file of `row`."""
    return root / layout.chunk(row)


def write_chunk(root: Path, row: int, values: np.ndarray, dtype: str, linked: str = "") -> tuple[int, str]:
    """Store `values`, float in [0, 1] or already of `dtype`, as the chunk of `row`; return its size and digest.

    On return the chunk survives a power cut. Several processes may write different rows at the same time.
    """
    encoded = encode(values, dtype)
    write_encoded(root, row, encoded, VOLUME, linked)
    return len(encoded), digest_bytes(encoded)


def write_encoded(root: Path, row: int, encoded: bytes, layout: Layout, linked: str = "") -> None:
    """Write `encoded` as the chunk of `row`, durably. Raises CacheError where that fails."""
    with write_errors(root):
        scratch = root / layout.array / "partial"
        check_inside(root, scratch, linked)
        check_inside(root, root / layout.array / "c", linked)
        scratch.mkdir(parents=True, exist_ok=True)
        write_durably(root, chunk_path(root, row, layout), encoded, scratch, linked)


def remove_chunk(root: Path, row: int, layout: Layout) -> None:
    """Remove the chunk file of `row`, and the folders that become empty, durably."""
    path = chunk_path(root, row, layout)
    rows = root / layout.array / "c"
    if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(rows) and part != rows):
        return
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        path.unlink()
    for folder in path.parents:
        if folder != rows:
            with suppress(OSError):  # not empty
                folder.rmdir()
        if folder.is_dir():
            flush_folder(folder)
            break


def encode(values: np.ndarray, dtype: str, layout: Layout = VOLUME) -> bytes:
    """The bytes of a chunk: `values` as `dtype`, encoded as by Zarr's codecs bytes and blosc."""
    fitted = quantise(values, dtype) if layout.bounded else as_finite_floats(values, dtype)
    stored = np.ascontiguousarray(fitted.astype(np.dtype(dtype).newbyteorder("<"), copy=False))
    return bytes(Blosc(**BLOSC).encode(stored))


def as_finite_floats(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` as the float `dtype`. Raises ValueError where one is not finite, or too large for it."""
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

    Raises DamagedSample unless all bytes match the ledger, UnreadableSample where the system cannot read them.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if entry.nbytes > needed + BLOSC_HEADER:
        raise DamagedSample(f"{entry.id}: a chunk of {entry.nbytes} bytes is recorded, {shape} {dtype} takes {needed}")
    encoded = checked_bytes(root, entry, layout)
    size = int.from_bytes(encoded[4:8], "little")  # from Blosc's header, checked before anything is allocated
    if size != needed:
        raise DamagedSample(f"{entry.id}: its chunk holds {size} bytes of values, {shape} {dtype} takes {needed}")
    stored = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    try:
        Blosc().decode(encoded, stored)
    except (RuntimeError, ValueError) as error:
        raise DamagedSample(f"{entry.id}: chunk of row {entry.row} does not decode: {error}") from error
    return stored


def checked_bytes(root: Path, entry: Entry, layout: Layout = VOLUME) -> bytes:
    """The encoded chunk of `entry`, with the size and digest that the ledger has.

    Raises DamagedSample (MissingSample if there is no chunk), and UnreadableSample where the system cannot read it.
    """
    with _open_chunk(root, entry, layout) as file:
        encoded = file.read(entry.nbytes)
    if digest_bytes(encoded) != entry.digest:
        raise _not_as_written(root, entry, layout)
    return encoded


def check_chunk(root: Path, entry: Entry, layout: Layout = VOLUME) -> None:
    """Check a chunk as `checked_bytes` does, one block in memory at a time."""
    with _open_chunk(root, entry, layout) as file:
        digest = digest_stream(file)
    if digest != entry.digest:
        raise _not_as_written(root, entry, layout)


def _not_as_written(root: Path, entry: Entry, layout: Layout) -> DamagedSample:
    path = chunk_path(root, entry.row, layout)
    return DamagedSample(
        f"{entry.id}: chunk {path} was changed after it was written, its digest differs; {_rebuild(layout)}"
    )


def _rebuild(layout: Layout) -> str:
    return f"{layout.remedy} to rebuild it from its source"


@contextmanager
def _open_chunk(root: Path, entry: Entry, layout: Layout) -> Iterator[BinaryIO]:
    """Open the chunk file of `entry`, if it has the recorded size. Raises as `checked_bytes`, also in the block."""
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
    except CacheError:  # some are also an OSError
        raise
    except UnexpectedFile as error:
        raise MissingSample(f"{entry.id}: chunk {path} is missing ({error}); {_rebuild(layout)}") from error
    except OSError as error:
        if error.errno in ABSENT:
            moved = f"{root} does not exist any more: restore it, or open it in its new place"
            advice = _rebuild(layout) if root.is_dir() else moved
            raise MissingSample(f"{entry.id}: chunk {path} is missing ({reason(error)}); {advice}") from error
        advice = f"; if the file is lost, delete it and {_rebuild(layout)}" if error.errno == errno.EIO else ""
        raise UnreadableSample(f"{entry.id}: {cannot_read(path, error)}{advice}") from error
