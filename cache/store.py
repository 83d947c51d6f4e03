"""The cache on disk: who writes what, and what a crash leaves.

    CACHE/                    a Zarr v3 group; attributes: kind, recipe, class_names, format_version, sources
      volume/c/ROW/0/0/0      one sample, one chunk file, written once by the worker that made it; in a cache of
                              features they are features/c/ROW/0/0, or features/c/ROW/0/0/0 with an axis of angles
      label/ sample_id/ group/   small arrays over the sample axis, derived from the ledger
      ledger/                 a group without arrays, that has a copy of the attributes
        entries.jsonl         the truth: how every input ended (see `ledger.py`), written by the coordinator
        lock, lock.owner      held by the one run that may write, and which that is (see `lock.py`)
        partial/              files being written, renamed into place when whole
        digests.json          of the metadata and derived arrays, as last published
        unpublished           present while the derived arrays may lag behind the ledger

The order of events for a sample: its chunk is written aside, flushed to disk and renamed; the folders that name it
are flushed; then its ledger line is appended and flushed. Killed in between, the chunk has no line and the next run
makes it again. The derived arrays, and all Zarr metadata, are built in memory (`index.py`) and published file by file,
the group's own `zarr.json` last; a reader therefore never meets half a document.
"""

import errno
import json
import math
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import numpy as np
from numcodecs.blosc import Blosc

from cache import ledger
from cache.durable import flush_folder, holds, make_folder, write_durably
from cache.errors import CacheError, CacheLocked, DamagedSample, MissingSample, NotACache, UnreadableSample
from cache.fingerprint import digest_bytes
from cache.index import documents_of
from cache.lock import LOCK_FILES, LockHeld, exclusive
from cache.oserrors import ABSENT, reason, remedy
from cache.schema import VOLUME, Attributes, Entry, Layout, scale_factor

# Measured on a real scan (docs/decisions.md): as small as zstd within 8 %, and read twice as fast.
BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": Blosc.BITSHUFFLE}
PUBLISH_SECONDS = 30.0
DIGESTS = "ledger/digests.json"
NAMED = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # of which the user must see the path
MANY_FOLDERS = 10_000  # that hold no file, so that whatever they are for, it is not a cache


def ledger_path(root: Path) -> Path:
    return root / "ledger" / "entries.jsonl"


def chunk_path(root: Path, row: int, layout: Layout = VOLUME) -> Path:
    return root / layout.chunk(row)


def read_attributes(root: Path) -> Attributes:
    """The attributes of the cache in `root`; from their copy where its own `zarr.json` is lost or unreadable.

    Raises NotACache where there is none that this version can read, CacheError where the system cannot read it.
    """
    faults: list[CacheError] = []
    for path in _attribute_files(root):
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            if error.errno not in ABSENT:
                faults.append(_cannot_read(path, error))
            continue
        except (ValueError, RecursionError):
            continue
        try:
            return Attributes.from_json(document["attributes"])
        except (ValueError, KeyError, TypeError) as error:
            faults.append(NotACache(f"{path} does not describe a cache of this format: {error}"))
    todo = "restore it, or delete the cache and build it again" if is_ours(root) else "build one with `preprocess`"
    missing = NotACache(f"{root} is not a cache: it has no readable zarr.json; {todo}")
    raise (faults or [missing])[0]


def _cannot_read(path: Path, error: OSError) -> CacheError:
    return CacheError(f"cannot read {path}: {reason(error)}; {remedy(error, 'check the path and its permissions')}")


def has_attributes(root: Path) -> bool:
    """True where something describes a cache in `root`, be it unreadable or of another format, but not empty."""
    return any(path.is_file() and path.stat().st_size for path in _attribute_files(root))


def _attribute_files(root: Path) -> tuple[Path, Path]:
    return root / "zarr.json", root / "ledger" / "zarr.json"


def read_entries(root: Path) -> dict[str, Entry]:
    """The last entry of every input by id; empty where there is no ledger."""
    return ledger.load(ledger_path(root)).entries


def rows_present(root: Path) -> set[int]:
    """The rows of a volume cache that have a chunk file. Raises CacheError where the system cannot tell."""
    folder = root / VOLUME.array / "c"
    try:
        with os.scandir(folder) as rows:
            found = [row for row in rows if row.name.isdecimal()]
        return {int(row.name) for row in found if _is_file(f"{row.path}/0/0/0")}
    except OSError as error:
        if error.errno in ABSENT:
            return set()
        raise _cannot_read(folder, error) from error


def _is_file(path: str) -> bool:
    """As os.path.isfile, but an error that does not say whether the file is there is raised."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - for 100,000 rows
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise


def is_ours(root: Path) -> bool:
    """True where this module began a cache in `root`, even if its `zarr.json` is not there yet or damaged."""
    return (root / "ledger" / "lock").is_file()


def is_empty(root: Path) -> bool:
    """True for a folder that holds no file, however deep, but those of a lock: a run may have been killed on its start.

    Of a large tree of folders only the beginning is looked at. Raises OSError.
    """
    locks = {str(root / "ledger" / name) for name in LOCK_FILES}
    folders = [str(root)]
    for folder in folders:  # which grows meanwhile
        with os.scandir(folder) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                elif item.path not in locks:
                    return False
        if len(folders) > MANY_FOLDERS:
            return False
    return True


def unpublished(root: Path) -> bool:
    """True while a run writes, or after one that was killed: the derived arrays may lag behind the ledger."""
    return (root / "ledger" / "unpublished").exists()


# -- chunks ------------------------------------------------------------------------------------------------------


def write_chunk(root: Path, row: int, values: np.ndarray, dtype: str) -> tuple[int, str]:
    """Store `values`, float in [0, 1] or already of `dtype`, as the chunk of `row`; return its size and digest.

    On return the chunk would survive a power cut. Any number of processes may write different rows at once.
    """
    encoded = encode(values, dtype)
    write_encoded(root, chunk_path(root, row), encoded)
    return len(encoded), digest_bytes(encoded)


def write_encoded(root: Path, path: Path, encoded: bytes) -> None:
    """Make the chunk in `path` one of `encoded`, durably."""
    with _cannot_write(root):
        write_durably(root, path, encoded)


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
    encoded = checked_bytes(root, entry, layout)
    held, needed = int.from_bytes(encoded[4:8], "little"), math.prod(shape) * np.dtype(dtype).itemsize
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
    path = chunk_path(root, entry.row, layout)
    rebuild = f"{layout.remedy} to rebuild it from its source"
    if not entry.digest:
        raise DamagedSample(f"{entry.id}: {entry.reason or 'it has no digest to check'}; {rebuild}")
    try:
        size = path.stat().st_size
        encoded = path.read_bytes() if size == entry.nbytes else b""
    except OSError as error:
        if error.errno in ABSENT:
            todo = rebuild if root.is_dir() else f"{root} is no longer there: restore it, or open it where it is now"
            raise MissingSample(f"{entry.id}: chunk {path} is missing ({reason(error)}); {todo}") from error
        lost = f"; if the file is lost, delete it and {rebuild}" if error.errno == errno.EIO else ""
        raise UnreadableSample(f"{entry.id}: {_cannot_read(path, error)}{lost}") from error
    if size != entry.nbytes:
        raise DamagedSample(f"{entry.id}: chunk {path} has {size} bytes, recorded {entry.nbytes}; {rebuild}")
    if digest_bytes(encoded) != entry.digest:
        raise DamagedSample(f"{entry.id}: chunk {path} is not what was written, its digest differs; {rebuild}")
    return encoded


# -- the writing side ---------------------------------------------------------------------------------------------


class CacheWriter:
    """The one writer of a cache: commits entries and publishes the derived arrays. Made by `writing`."""

    def __init__(self, root: Path, attributes: Attributes, loaded: ledger.Ledger) -> None:
        self.root = root
        self.attributes = attributes
        self.entries = loaded.entries
        if loaded.damaged or loaded.lines > 2 * len(loaded.entries) + 1000:
            self._rewrite()
        else:
            self._log = ledger.LedgerWriter(ledger_path(root), loaded.end)

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
        if gone:
            self.entries = {key: entry for key, entry in self.entries.items() if key not in gone}
            with _cannot_write(self.root):
                self._log.close()
                self._rewrite()

    def publish(self) -> None:
        """Bring Zarr's metadata and the derived arrays up to date with the ledger; unchanged files are left alone."""
        documents = documents_of(self.attributes, self.entries.values())
        documents[DIGESTS] = json.dumps({key: digest_bytes(data) for key, data in documents.items()}).encode()
        with _cannot_write(self.root):
            for key in sorted(documents, key=lambda key: (key == "zarr.json", key)):
                if not holds(self.root / key, documents[key]):
                    write_durably(self.root, self.root / key, documents[key])
        self._published = time.monotonic()

    def close(self) -> None:
        self._log.close()

    def _rewrite(self) -> None:
        """Replace the ledger by one of just the present entries, and go on with that."""
        data = ledger.dump(self.entries.values())
        write_durably(self.root, ledger_path(self.root), data)
        self._log = ledger.LedgerWriter(ledger_path(self.root), len(data))


@contextmanager
def writing(root: Path, attributes: Attributes, planned_on: Mapping[str, Entry]) -> Iterator[CacheWriter]:
    """Open the cache in `root` for writing, making it where there is none.

    Raises CacheLocked while another run writes, or where one has written since the entries `planned_on` were read, and
    CacheError where the folder cannot be written. However the block ends, short of a kill or a full disk, the derived
    arrays are published.
    """
    with _cannot_write(root):
        make_folder(root / "ledger")
    with _lock(root):
        loaded = ledger.load(ledger_path(root))
        if loaded.entries != planned_on:
            raise CacheLocked(f"another run has written to {root} meanwhile; run the same command again")
        with _cannot_write(root):
            shutil.rmtree(root / "ledger" / "partial", ignore_errors=True)  # left by a killed run
            (root / "ledger" / "partial").mkdir(exist_ok=True)
            (root / "ledger" / "unpublished").touch()
            chunks = root / attributes.layout.array / "c"  # made here, or one worker would rely on another to flush it
            chunks.mkdir(parents=True, exist_ok=True)
            writer = CacheWriter(root, attributes, loaded)
        with closing(writer):
            try:
                with _cannot_write(root):
                    for folder in (root / "ledger", chunks.parent, root, root.parent):
                        flush_folder(folder)  # a run killed on its start has made some of these and flushed none
                writer.publish()
                yield writer
            except BaseException:
                with suppress(CacheError):  # a full disk must not hide why the run ended; `unpublished` stays
                    writer.entries = read_entries(root)
                    _finish(writer)
                raise
            _finish(writer)


def _finish(writer: CacheWriter) -> None:
    writer.publish()
    with _cannot_write(writer.root):
        (writer.root / "ledger" / "unpublished").unlink()


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with _cannot_write(root):
            try:
                stack.enter_context(exclusive(root / "ledger" / "lock"))
            except LockHeld as held:
                raise CacheLocked(
                    f"another run is writing to {root}{held.holder}; wait for it to end, or choose another CACHE"
                    f"{held.way_out}"
                ) from held
        yield


@contextmanager
def _cannot_write(root: Path) -> Iterator[None]:
    """Turn an OSError into the CacheError that tells the user what to do."""
    try:
        yield
    except CacheError:  # some are an OSError too
        raise
    except OSError as error:
        todo = remedy(error, "choose a CACHE that can be written")
        file = f" ({error.filename})" if isinstance(error, NAMED) and error.filename else ""
        raise CacheError(f"cannot write to {root}: {reason(error)}{file}; {todo}") from error
