"""The cache on disk: who writes what, and what a crash leaves.

    CACHE/                    a Zarr v3 group; attributes: kind, recipe, class_names, format_version, sources
      volume/c/ROW/0/0/0      one sample, one chunk file, written once by the worker that made it
      label/ sample_id/ group/   small arrays over the sample axis, derived from the ledger
      ledger/                 a group without arrays
        entries.jsonl         the truth: how every input ended (see `ledger.py`), written by the coordinator
        lock                  held by the one run that may write; the kernel drops it when that run dies
        partial/              chunks being written, renamed into place when whole
        unpublished           present while the derived arrays may lag behind the ledger

The order of events for a sample: its chunk is written beside the cache, flushed to disk and renamed; the folders that
name it are flushed; then its ledger line is appended and flushed. Killed in between, the chunk has no line and the
next run makes it again. The derived arrays, and all Zarr metadata, are built by Zarr in memory and published file by
file, the group's own `zarr.json` last; a reader therefore never meets half a document.
"""

import errno
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numcodecs.blosc import Blosc

from cache import ledger
from cache.errors import CacheError, CacheLocked, DamagedSample, NotACache
from cache.fingerprint import digest_bytes
from cache.schema import Attributes, Entry, scale_factor

# Measured on a real scan (docs/decisions.md): as small as zstd within 8 %, and read twice as fast.
BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": Blosc.BITSHUFFLE}
PUBLISH_SECONDS = 30.0
INDEX_ROWS = 4096  # rows in one chunk of a derived array
DIMENSIONS = ("sample", "depth", "height", "width")


def ledger_path(root: Path) -> Path:
    return root / "ledger" / "entries.jsonl"


def chunk_path(root: Path, row: int) -> Path:
    return root / "volume" / "c" / str(row) / "0" / "0" / "0"


def read_attributes(root: Path) -> Attributes:
    """The attributes of the cache in `root`. Raises NotACache where there is none that this version can read."""
    try:
        return Attributes.from_json(json.loads((root / "zarr.json").read_bytes())["attributes"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotACache(f"{root} is not a cache: it has no zarr.json; build one with `preprocess`") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotACache(f"{root}/zarr.json does not describe a cache of this format: {error}") from error


def read_entries(root: Path) -> dict[str, Entry]:
    """The last entry of every input by id; empty where there is no ledger."""
    return ledger.load(ledger_path(root)).entries


def rows_present(root: Path) -> set[int]:
    """The rows that have a chunk file."""
    folder = root / "volume" / "c"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {int(name) for name in names if name.isdecimal() and chunk_path(root, int(name)).is_file()}


def is_ours(root: Path) -> bool:
    """True where this module began a cache in `root`, even if its `zarr.json` is not there yet or damaged."""
    return (root / "ledger" / "lock").is_file()


def unpublished(root: Path) -> bool:
    """True while a run writes, or after one that was killed: the derived arrays may lag behind the ledger."""
    return (root / "ledger" / "unpublished").exists()


# -- chunks ------------------------------------------------------------------------------------------------------


def write_chunk(root: Path, row: int, values: np.ndarray, dtype: str) -> tuple[int, str]:
    """Store `values`, float in [0, 1] or already of `dtype`, as the chunk of `row`; return its size and digest.

    On return the chunk would survive a power cut. Any number of processes may write different rows at once.
    """
    encoded = encode(values, dtype)
    path = chunk_path(root, row)
    partial = root / "ledger" / "partial" / uuid.uuid4().hex
    with _cannot_write(root):
        _write_flushed(partial, encoded)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(path)
        folder = path.parent
        while folder != root:
            _flush_folder(folder)
            folder = folder.parent
    return len(encoded), digest_bytes(encoded)


def encode(values: np.ndarray, dtype: str) -> bytes:
    """The bytes of a chunk: what Zarr's bytes and blosc codecs give for `values` stored as `dtype`."""
    stored = np.ascontiguousarray(quantise(values, dtype).astype(np.dtype(dtype).newbyteorder("<"), copy=False))
    return bytes(Blosc(**BLOSC).encode(stored))


def quantise(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` in [0, 1] as `dtype`, integers rounded to the nearest level; values of `dtype` pass unchanged."""
    scale = scale_factor(dtype)
    if values.dtype == dtype:
        return values
    if scale is None:
        return values.astype(dtype)
    return np.rint(values * values.dtype.type(1 / scale)).astype(dtype)


def read_chunk(root: Path, entry: Entry, shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    """The stored values of `entry`, exactly as written. Raises DamagedSample unless every byte is as recorded."""
    encoded = checked_bytes(root, entry)
    stored = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    try:
        Blosc().decode(encoded, stored)
    except (RuntimeError, ValueError) as error:
        raise DamagedSample(f"{entry.id}: chunk of row {entry.row} does not decode: {error}") from error
    return stored


def checked_bytes(root: Path, entry: Entry) -> bytes:
    """The encoded chunk of `entry` after comparing its size and digest with the record."""
    path = chunk_path(root, entry.row)
    remedy = "run `repair` to rebuild it from its source"
    if not entry.digest:
        raise DamagedSample(f"{entry.id}: {entry.reason or 'it has no digest to check'}; {remedy}")
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise DamagedSample(f"{entry.id}: chunk {path} is missing ({error.strerror}); {remedy}") from error
    if len(encoded) != entry.nbytes:
        raise DamagedSample(f"{entry.id}: chunk {path} has {len(encoded)} bytes, recorded {entry.nbytes}; {remedy}")
    if digest_bytes(encoded) != entry.digest:
        raise DamagedSample(f"{entry.id}: chunk {path} is not what was written, its digest differs; {remedy}")
    return encoded


# -- the writing side ---------------------------------------------------------------------------------------------


class CacheWriter:
    """The one writer of a cache: commits entries and publishes the derived arrays. Made by `writing`."""

    def __init__(self, root: Path, attributes: Attributes) -> None:
        self.root = root
        self.attributes = attributes
        loaded = ledger.load(ledger_path(root))
        self.entries = loaded.entries
        if loaded.damaged or loaded.lines > 2 * len(loaded.entries) + 1000:
            _write_durably(ledger_path(root), ledger.dump(self.entries.values()))
        self._log = ledger.LedgerWriter(ledger_path(root))
        self.publish()

    def commit(self, entries: Iterable[Entry]) -> None:
        """Make `entries` the last word on their inputs, durably; publish now and then."""
        new = list(entries)
        if not new:
            return
        with _cannot_write(self.root):
            self._log.append(new)
        self.entries.update((entry.id, entry) for entry in new)
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self.publish()

    def forget(self, ids: Iterable[str]) -> None:
        """Drop inputs that are no inputs any more."""
        gone = self.entries.keys() & set(ids)
        if not gone:
            return
        self.entries = {key: entry for key, entry in self.entries.items() if key not in gone}
        self._log.close()
        with _cannot_write(self.root):
            _write_durably(ledger_path(self.root), ledger.dump(self.entries.values()))
            self._log = ledger.LedgerWriter(ledger_path(self.root))

    def publish(self) -> None:
        """Bring Zarr's metadata and the derived arrays up to date with the ledger; unchanged files are left alone."""
        documents = index_documents(self.attributes, self.entries.values())
        with _cannot_write(self.root):
            for key in sorted(documents, key=lambda key: (key == "zarr.json", key)):
                path = self.root / key
                if not path.is_file() or path.read_bytes() != documents[key]:
                    _write_durably(path, documents[key])
        self._published = time.monotonic()

    def close(self) -> None:
        self._log.close()


@contextmanager
def writing(root: Path, attributes: Attributes, planned_on: Mapping[str, Entry]) -> Iterator[CacheWriter]:
    """Open the cache in `root` for writing, making it where there is none.

    Raises CacheLocked while another run writes, or where one has written since the entries `planned_on` were read, and
    CacheError where the folder cannot be written. However the block ends, short of a kill or a full disk, the derived
    arrays are published.
    """
    with _cannot_write(root):
        _flush_new_folder(root / "ledger")
    with _lock(root):
        if read_entries(root) != planned_on:
            raise CacheLocked(f"another run has written to {root} meanwhile; run the same command again")
        with _cannot_write(root):
            shutil.rmtree(root / "ledger" / "partial", ignore_errors=True)  # left by a killed run
            (root / "ledger" / "partial").mkdir(exist_ok=True)
            (root / "ledger" / "unpublished").touch()
        with closing(CacheWriter(root, attributes)) as writer:
            try:
                yield writer
            except BaseException:
                with suppress(CacheError):  # a full disk must not hide why the run ended; `unpublished` stays
                    _finish(writer)
                raise
            _finish(writer)


def _finish(writer: CacheWriter) -> None:
    writer.publish()
    with _cannot_write(writer.root):
        (writer.root / "ledger" / "unpublished").unlink()


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    lock = FileLock(root / "ledger" / "lock")
    try:
        with _cannot_write(root):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise CacheLocked(f"another run is writing to {root}; wait for it to end, or choose another CACHE") from error
    try:
        yield
    finally:
        lock.release()


def index_documents(attributes: Attributes, entries: Iterable[Entry]) -> dict[str, bytes]:
    """Every file of the cache but chunks and ledger, by its key: built by Zarr in memory, not yet on disk."""
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import MemoryStore

    complete = [entry for entry in entries if entry.state == "complete"]
    rows = 1 + max((entry.row for entry in complete), default=-1)
    label = np.full(rows, -1, np.int64)
    text = {name: np.full(rows, "", object) for name in ("sample_id", "group")}
    for entry in complete:
        label[entry.row] = entry.label
        text["sample_id"][entry.row] = entry.id
        text["group"][entry.row] = entry.group

    files: dict[str, Any] = {}
    store = MemoryStore(files)
    group = zarr.create_group(store, attributes=attributes.to_json())
    group.create_group("ledger")
    shape = attributes.shape
    scale = scale_factor(attributes.dtype)
    group.create_array(
        "volume",
        shape=(rows, *shape),
        chunks=(1, *shape),
        dtype=attributes.dtype,
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        fill_value=0,
        dimension_names=DIMENSIONS,
        attributes={} if scale is None else {"scale_factor": scale},
    )
    index: dict[str, Any] = {
        "shape": (rows,),
        "chunks": (INDEX_ROWS,),
        "dimension_names": DIMENSIONS[:1],
        "config": {"write_empty_chunks": True},  # or an old chunk would outlive the values it held
    }
    group.create_array("label", dtype="int64", fill_value=-1, **index)[:] = label
    for name, values in text.items():
        group.create_array(name, dtype="string", fill_value="", **index)[:] = values
    with warnings.catch_warnings():  # xarray asks for consolidated metadata; Zarr warns that others may ignore it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    return {key: value.to_bytes() for key, value in files.items()}


@contextmanager
def _cannot_write(root: Path) -> Iterator[None]:
    """Turn an OSError into the CacheError that tells the user what to do."""
    try:
        yield
    except OSError as error:
        remedy = {errno.ENOSPC: "free some space and run the same command again", errno.EDQUOT: "free some space"}.get(
            error.errno or 0, "choose a CACHE that can be written"
        )
        raise CacheError(f"cannot write to {root}: {error.strerror or error}; {remedy}") from error


# -- durable files --------------------------------------------------------------------------------------------------


def _write_flushed(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data` such that a crash leaves the old file or the new one, and flush the folder."""
    partial = path.with_name(f"{path.name}.partial")
    _flush_new_folder(path.parent)
    _write_flushed(partial, data)
    partial.replace(path)
    _flush_folder(path.parent)


def _flush_new_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
