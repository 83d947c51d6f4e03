"""Zarr metadata and the derived arrays, built in memory from the ledger. The only module that imports Zarr.

They are read back without Zarr, which a file of an untrusted cache could make allocate any amount of memory.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cache.confined import UnexpectedFile, read_regular
from cache.errors import CacheError
from cache.oserrors import ABSENT, cannot_read
from cache.schema import MAX_ID_BYTES, MAX_ROWS, UNLABELLED, Attributes, Entry, scale_factor

ROWS = 4096  # in one chunk of a derived array
COLUMNS = {  # array → dtype, value of a row without a sample, dtype in memory
    "sample_id": ("string", "", object),
    "label": ("int64", UNLABELLED, np.int64),
    "group": ("string", "", object),
}
MAX_CHUNK_BYTES = ROWS * (MAX_ID_BYTES + 4) + 4  # of a decoded chunk
MAX_UNPACKED, MAX_RATIO = 1 << 26, 100  # decoded bytes of an array: at most this, and this many times its bytes on disk
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

Row = tuple[str, int, str]  # id, label, group


def rows_of(entries: Iterable[Entry]) -> dict[int, Row]:
    """Row → (id, label, group) of the complete samples, as published."""
    return {entry.row: (entry.id, entry.label, entry.group) for entry in entries if entry.state == "complete"}


def documents_of(attributes: Attributes, entries: Iterable[Entry]) -> dict[str, bytes]:
    """Every file of a cache except chunks and ledger: key → bytes, built by Zarr in memory.

    Chunks of the derived arrays without any sample are left out, since all their values are the fill value.
    """
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    rows = rows_of(entries)
    size = 1 + max(rows, default=-1)
    files: dict[str, Any] = {}
    store = MemoryStore(files)
    group = zarr.create_group(store, attributes=attributes.to_json())
    group.create_group("ledger", attributes=attributes.to_json())
    shape = attributes.shape
    scale = scale_factor(attributes.dtype)
    group.create_array(
        attributes.layout.array,
        shape=(size, *shape),
        chunks=(1, *shape),
        dtype=attributes.dtype,
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        fill_value=0,
        dimension_names=attributes.layout.dimensions,
        attributes={} if scale is None else {"scale_factor": scale},
    )
    index: dict[str, Any] = {
        "shape": (size,),
        "chunks": (ROWS,),
        "compressors": (ZstdCodec(), Crc32cCodec()),  # without a checksum, damaged string lengths could take gigabytes
        "dimension_names": attributes.layout.dimensions[:1],
        "config": {"write_empty_chunks": True},  # otherwise an old chunk would stay when its samples are gone
    }
    numbers = sorted({row // ROWS for row in rows})
    for column, (name, (dtype, fill, memory)) in enumerate(COLUMNS.items()):
        array = group.create_array(name, dtype=dtype, fill_value=fill, **index)
        for number in numbers:
            span = range(number * ROWS, min((number + 1) * ROWS, size))
            values = [rows[row][column] if row in rows else fill for row in span]
            array[span.start : span.stop] = np.array(values, memory)
    with warnings.catch_warnings():  # xarray wants consolidated metadata; Zarr warns about it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    return {key: value.to_bytes() for key, value in files.items()}


def is_number(name: str) -> bool:
    """Whether `name` is that of a chunk along one axis, as Zarr writes it."""
    return name.isascii() and name.isdecimal()


def published_chunks(root: Path) -> Iterator[Path]:
    """The chunk files of the derived arrays, but not through links. Raises OSError."""
    for name in COLUMNS:
        folder = root / name / "c"
        if folder.is_dir() and not (folder.is_symlink() or folder.parent.is_symlink()):
            yield from (path for path in folder.iterdir() if is_number(path.name))


# -- reading them back -------------------------------------------------------------------------------------------------


def published_rows(root: Path) -> dict[int, Row]:
    """Row → (id, label, group) from the published arrays; empty where the ids cannot be read.

    Where labels or groups are damaged, samples are unlabelled, or each is its own group. Raises CacheError where the
    system cannot read an existing file.
    """
    ids = {row: name for row, name in _column(root, "sample_id") if name}
    labels = dict(_column(root, "label")) if ids else {}
    groups = dict(_column(root, "group")) if ids else {}
    return {row: (name, labels.get(row, UNLABELLED), groups.get(row, name)) for row, name in ids.items()}


def _column(root: Path, name: str) -> Iterator[tuple[int, Any]]:
    """(row, value) from the intact chunks of one derived array, until their decoded size becomes implausible."""
    decode = _integers if name == "label" else _strings
    allowed = MAX_UNPACKED
    for number, packed in _chunks(root / name / "c"):
        with suppress(ValueError, RuntimeError):  # `verify` reports it
            content = _decompressed(packed)
            allowed += MAX_RATIO * len(packed) - len(content)
            if allowed < 0:
                return
            yield from enumerate(decode(content), number * ROWS)


def _chunks(folder: Path) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of each chunk file of a derived array that has a plausible size."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        if error.errno in ABSENT:
            return
        raise CacheError(cannot_read(folder, error)) from error
    for path in files:
        if not is_number(path.name) or int(path.name[:9]) >= MAX_ROWS // ROWS:
            continue
        try:
            yield int(path.name), read_regular(path, 2 * MAX_CHUNK_BYTES)
        except UnexpectedFile:
            continue  # `verify` reports it
        except OSError as error:
            if error.errno not in ABSENT:
                raise CacheError(cannot_read(path, error)) from error


def _decompressed(data: bytes) -> bytes:
    """The content of a chunk (zstd, CRC-32C). Raises ValueError or RuntimeError where it is damaged or too large."""
    from numcodecs.checksum32 import CRC32C
    from numcodecs.zstd import Zstd

    frame = bytes(CRC32C(location="end").decode(data)) if len(data) > 8 else b""
    if _zstd_size(frame) > MAX_CHUNK_BYTES:
        raise ValueError("too large")
    return bytes(Zstd().decode(frame))


def _zstd_size(frame: bytes) -> int:
    """The content size in the header of a Zstandard frame (RFC 8878, 3.1.1). Raises ValueError where it has none."""
    if frame[:4] != ZSTD_MAGIC or len(frame) < 18:
        raise ValueError("not a Zstandard frame")
    descriptor = frame[4]
    single_segment, size_flag = descriptor >> 5 & 1, descriptor >> 6
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
    length = (single_segment, 2, 4, 8)[size_flag]
    if not length:
        raise ValueError("a frame of unknown size")
    return int.from_bytes(frame[start : start + length], "little") + (256 if length == 2 else 0)


def _integers(data: bytes) -> list[int]:
    if len(data) != ROWS * 8:
        raise ValueError(f"{len(data)} bytes of labels")
    return list(map(int, np.frombuffer(data, "<i8")))


def _strings(data: bytes) -> list[str]:
    """Strings in numcodecs' vlen-utf8: their number, then the length and bytes of each. Raises ValueError."""
    if int.from_bytes(data[:4], "little") != ROWS:
        raise ValueError("wrong number of strings")
    values, end = [], 4
    for _ in range(ROWS):
        start = end + 4
        end = start + int.from_bytes(data[end:start], "little")
        if end > len(data):
            raise ValueError("strings beyond the end")
        values.append(data[start:end].decode())
    return values
