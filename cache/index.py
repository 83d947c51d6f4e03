"""The derived arrays and all metadata, for plain Zarr users: built in memory from the ledger. Zarr's only door."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cache.schema import MAX_ROWS, UNLABELLED, Attributes, Entry, scale_factor

ROWS = 4096  # in one chunk of a derived array
COLUMNS = {  # dtype, value of a row without a sample, dtype in memory
    "sample_id": ("string", "", object),
    "label": ("int64", UNLABELLED, np.int64),
    "group": ("string", "", object),
}


def rows_of(entries: Iterable[Entry]) -> list[tuple[str, int, str]]:
    """(id, label, group) of every row, as they are to be published: empty and -1 where no sample is complete."""
    complete = [entry for entry in entries if entry.state == "complete"]
    rows = [("", UNLABELLED, "")] * (1 + max((entry.row for entry in complete), default=-1))
    for entry in complete:
        rows[entry.row] = (entry.id, entry.label, entry.group)
    return rows


def documents_of(attributes: Attributes, entries: Iterable[Entry]) -> dict[str, bytes]:
    """Every file of the cache but chunks and ledger, by its key: built by Zarr in memory, not yet on disk."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    rows = rows_of(entries)
    files: dict[str, Any] = {}
    store = MemoryStore(files)
    group = zarr.create_group(store, attributes=attributes.to_json())
    group.create_group("ledger", attributes=attributes.to_json())
    shape = attributes.shape
    scale = scale_factor(attributes.dtype)
    group.create_array(
        attributes.layout.array,
        shape=(len(rows), *shape),
        chunks=(1, *shape),
        dtype=attributes.dtype,
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        fill_value=0,
        dimension_names=attributes.layout.dimensions,
        attributes={} if scale is None else {"scale_factor": scale},
    )
    index: dict[str, Any] = {
        "shape": (len(rows),),
        "chunks": (ROWS,),
        "compressors": (ZstdCodec(), Crc32cCodec()),  # damaged lengths of strings would take gigabytes to decode
        "dimension_names": attributes.layout.dimensions[:1],
        "config": {"write_empty_chunks": True},  # or an old chunk would outlive the values it held
    }
    for number, (name, (dtype, fill, memory)) in enumerate(COLUMNS.items()):
        values = np.array([row[number] for row in rows], memory)
        group.create_array(name, dtype=dtype, fill_value=fill, **index)[:] = values
    with warnings.catch_warnings():  # xarray asks for consolidated metadata; Zarr warns that others may ignore it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    return {key: value.to_bytes() for key, value in files.items()}


def published_rows(root: Path) -> list[tuple[str, int, str]]:
    """(id, label, group) of every row, as the published arrays say; empty where the ids cannot be read.

    Where labels or groups cannot be read, rows are unlabelled, or groups of their own.
    """
    ids = _published_column(root, "sample_id", "T") or []
    labels = _published_column(root, "label", "i") or [UNLABELLED] * len(ids)
    groups = _published_column(root, "group", "T") or ids
    return list(zip(ids, labels, groups, strict=False))


def _published_column(root: Path, name: str, kind: str) -> list | None:
    import zarr

    try:
        array = zarr.open_array(root / name, mode="r")
        if (array.chunks, array.shape[0] < MAX_ROWS, array.dtype.kind) != ((ROWS,), True, kind):
            return None  # before anything of a wrong size is allocated
        return np.asarray(array[:]).tolist()
    except Exception:  # noqa: BLE001 - a damaged array raises whatever its codec meets; `verify` reports it
        return None
