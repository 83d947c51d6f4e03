"""The cache on disk: who writes what, and what a crash leaves.

    CACHE/                    a Zarr v3 group; attributes: kind, recipe, class_names, format_version, sources
      volume/c/ROW/0/0/0      one sample, one chunk file, written once by the worker that made it; in a cache of
                              features they are features/c/ROW/0/0, or features/c/ROW/0/0/0 with an axis of angles
      label/ sample_id/ group/   small arrays over the sample axis, derived from the ledger
      ledger/                 a group without arrays, that has a copy of the attributes
        entries.jsonl         the truth: how every input ended (see `ledger.py`), written by the coordinator
        snapshot.jsonl        the same as last published, so that no fault of one file loses it
        lock, lock.owner      held by the one run that may write, and which that is (see `lock.py`)
        readers               locked together by all who have the cache open (see `lease.py`)
        partial/              files being written, renamed into place when whole; chunks are written in volume/partial
        aside/                what stood where a file or folder of the cache belongs: moved there, never deleted
        digests.json          of the metadata, the snapshot and the derived arrays, as last published
        unpublished           present while the derived arrays may lag behind the ledger

The order of events for a sample: its chunk is written aside, flushed to disk and renamed; the folders that name it
are flushed; then its ledger line is appended and flushed. Killed in between, the chunk has no line and the next run
makes it again. A new version of a sample goes into another row; the chunk of the old one is removed after the commit,
once no reader has the cache open. The derived arrays, and all Zarr metadata, are built in memory (`index.py`) and
published file by file, the group's own `zarr.json` last; a reader therefore never meets half a document. No writer
follows a link inside CACHE, but that of the array's folder to another disk where the caller allows it (`linked`).
"""

import errno
import json
import math
import os
import stat
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numcodecs.blosc import Blosc

from cache import index, lease, ledger
from cache.confined import UnexpectedFile, check_inside, open_regular, read_regular
from cache.durable import flush_folder, holds, make_folder, write_durably
from cache.errors import CacheError, CacheLocked, DamagedSample, MissingSample, NotACache, UnreadableSample
from cache.fingerprint import digest_bytes, digest_stream
from cache.index import documents_of
from cache.lock import LOCK_FILES, LockHeld, exclusive
from cache.oserrors import ABSENT, cannot_read, reason, remedy
from cache.schema import MAX_ROWS, UNLABELLED, VOLUME, Attributes, Entry, Layout, scale_factor

# Measured on a real scan (docs/decisions.md): as small as zstd within 8 %, and read twice as fast.
BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": Blosc.BITSHUFFLE}
BLOSC_HEADER = 16  # bytes, which no chunk takes beyond those of its values
PUBLISH_SECONDS = 30.0
PUBLISH_SHARE = 20  # at most one part in as many of a run's time goes into publishing
DIGESTS, SNAPSHOT = "ledger/digests.json", f"ledger/{ledger.SNAPSHOT}"
MAX_DOCUMENT = 1 << 23  # bytes of a `zarr.json`: that of a cache with the most class names takes less
MAX_PUBLISHED = 2 * index.MAX_CHUNK_BYTES  # bytes of a file of a derived array or its metadata
LOST, REMOVED = "its ledger line is lost", "it is being removed"
SCRATCH_NAME = 32  # characters of the name of a file that is being written
NAMED = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # of which the user must see the path
MARKS = ("unpublished", "readers")  # files without content in ledger/
MANY_FOLDERS = 10_000  # that hold no file, so that whatever they are for, it is not a cache


def ledger_path(root: Path) -> Path:
    return root / "ledger" / ledger.LOG


def chunk_path(root: Path, row: int, layout: Layout = VOLUME) -> Path:
    return root / layout.chunk(row)


def read_attributes(root: Path) -> Attributes:
    """The attributes of the cache in `root`; from their copy where its own `zarr.json` is lost, damaged or unreadable.

    Raises NotACache where there is none that this version can read, or where it is not known which of both is right;
    CacheError where the system cannot read it.
    """
    found: dict[Path, tuple[bytes, Attributes]] = {}
    faults: list[CacheError] = []
    for path in _attribute_files(root):
        try:
            described = _described(path)
        except CacheError as error:
            faults.append(error)
            continue
        if described:
            found[path] = described
    if not found:
        todo = "restore it, or delete the cache and build it again" if is_ours(root) else "build one with `preprocess`"
        raise (faults or [NotACache(f"{root} is not a cache: it has no readable zarr.json; {todo}")])[0]
    (_, first), *others = found.values()
    if all(other == first for _, other in others):
        return first
    return _published(root, found)


def _described(path: Path) -> tuple[bytes, Attributes] | None:
    """The bytes of a zarr.json, and what they say; None where there is none, or no JSON. Raises CacheError."""
    try:
        data = read_regular(path, MAX_DOCUMENT)
        document = json.loads(data)
    except UnexpectedFile as error:
        raise NotACache(f"{path} does not describe a cache of this format: {error}") from error
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise CacheError(cannot_read(path, error)) from error
    except (ValueError, RecursionError):
        return None
    try:
        return data, Attributes.from_json(document["attributes"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotACache(f"{path} does not describe a cache of this format: {error}") from error


def _published(root: Path, found: Mapping[Path, tuple[bytes, Attributes]]) -> Attributes:
    """Of documents that say different things, the one that was published last. Raises NotACache."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        digests = json.loads(read_regular(root / DIGESTS, MAX_DOCUMENT))
        for path, (data, attributes) in found.items():
            if digests.get(path.relative_to(root).as_posix()) == digest_bytes(data):
                return attributes
    one, other = found
    raise NotACache(
        f"{one} and its copy {other} describe different caches, and no digest says which is right; restore them, or "
        "delete the wrong one"
    )


def has_attributes(root: Path) -> bool:
    """True where something describes a cache in `root`, be it unreadable or of another format, but not empty."""
    return any(path.is_file() and path.stat().st_size for path in _attribute_files(root))


def _attribute_files(root: Path) -> tuple[Path, Path]:
    return root / "zarr.json", root / "ledger" / "zarr.json"


def read_entries(root: Path) -> dict[str, Entry]:
    """The last entry of every input by id, lost ones restored as in `load`; empty if there is no ledger."""
    return load(root).entries


@dataclass
class Known:
    """All that a cache says about its inputs: the `ledger`, and in it the samples whose own lines are `lost`.

    Those are known from the derived arrays alone: their id, row, label and group.
    """

    ledger: ledger.Ledger
    lost: list[Entry] = field(default_factory=list)

    @property
    def entries(self) -> dict[str, Entry]:
        return self.ledger.entries

    @property
    def is_whole(self) -> bool:
        """True where the log of the ledger alone says everything."""
        return self.ledger.is_whole and not self.lost


def load(root: Path) -> Known:
    """What the cache in `root` knows about its inputs. Raises CacheError where the system cannot read it.

    The arrays are read first: what a running `preprocess` commits meanwhile is then in both, or in the ledger only.
    """
    rows = index.published_rows(root)
    known = Known(ledger.read(root / "ledger"))
    taken = {entry.row for entry in known.entries.values()}
    for row, (name, label, group) in sorted(rows.items()):
        if row not in taken and name not in known.entries:
            with suppress(ValueError):  # what no sample could be called
                lost = Entry(name, "complete", row=row, label=_label(label), group=group, reason=LOST)
                known.lost.append(lost)
                known.entries[name] = lost
    return known


def _label(label: int) -> int:
    return label if 0 <= label < MAX_ROWS else UNLABELLED


def kept_rows(root: Path, known: Known, layout: Layout) -> set[int]:
    """The rows that no entry has, but whose chunk readers may still have open: nothing may be written there."""
    rows = {entry.row for entry in known.ledger.superseded if entry.row >= 0}
    return {row for row in rows if chunk_path(root, row, layout).exists()}


def rows_present(root: Path) -> set[int]:
    """The rows of a volume cache that have a chunk file. Raises CacheError where the system cannot tell."""
    folder = root / VOLUME.array / "c"
    try:
        return {row for row in _row_folders(root, VOLUME) if _is_file(f"{folder}/{row}/0/0/0")}
    except OSError as error:
        if error.errno in ABSENT:
            return set()
        raise CacheError(cannot_read(folder, error)) from error


def _is_file(path: str) -> bool:
    """As os.path.isfile, but an error that does not say whether the file is there is raised."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - for 100,000 rows
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise


def is_ours(root: Path) -> bool:
    """True where this module began a cache in `root`, even if its `zarr.json` is not there yet or damaged.

    Of the files that it makes first, a power cut may have left any.
    """
    return any((root / "ledger" / name).is_file() for name in ("lock", *MARKS, ledger.LOG))


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


def write_chunk(root: Path, row: int, values: np.ndarray, dtype: str, linked: str = "") -> tuple[int, str]:
    """Store `values`, float in [0, 1] or already of `dtype`, as the chunk of `row`; return its size and digest.

    On return the chunk would survive a power cut. Any number of processes may write different rows at once.
    """
    encoded = encode(values, dtype)
    write_encoded(root, row, encoded, VOLUME, linked)
    return len(encoded), digest_bytes(encoded)


def write_encoded(root: Path, row: int, encoded: bytes, layout: Layout, linked: str = "") -> None:
    """Make `encoded` the chunk of `row`, durably. Raises CacheError where that cannot be."""
    with _cannot_write(root):
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


# -- the writing side ---------------------------------------------------------------------------------------------


class CacheWriter:
    """The one writer of a cache: commits entries and publishes the derived arrays. Made by `writing`."""

    def __init__(self, root: Path, attributes: Attributes, known: Known, linked: str) -> None:
        self.root, self.attributes, self.linked = root, attributes, linked
        self.kept = kept_rows(root, known, attributes.layout)
        self._ledger = known.ledger
        self._may_sweep = known.is_whole  # or a chunk without an entry may be all that is left of a sample
        self._next_publication = math.inf
        self._log: ledger.LedgerWriter | None = None
        compact = known.ledger.lines <= 2 * len(known.entries) + 1000
        if known.is_whole and compact and _may_be_appended(ledger_path(root)):
            self._log = ledger.LedgerWriter(ledger_path(root), known.ledger.end, known.ledger.crc)
            self._added = self._log.end
        else:
            self._rewrite()

    @property
    def entries(self) -> dict[str, Entry]:
        """The last entry of every input by id."""
        return self._ledger.entries

    def commit(self, entries: Iterable[Entry]) -> None:
        """Make `entries` the last word on their inputs, durably; publish now and then."""
        new = list(entries)
        if not new:
            return
        if self._log is None:
            raise CacheError(f"the ledger of {self.root} could not be replaced; run the same command again")
        with _cannot_write(self.root):
            self._log.append(new)
        for entry in new:
            self._ledger.add(entry)
        self._added = self._log.end
        if time.monotonic() > self._next_publication:
            self.publish()

    def forget(self, ids: Iterable[str]) -> None:
        """Remove the entries of `ids` from the ledger and its snapshot."""
        gone = self.entries.keys() & set(ids)
        if gone:
            self._close_log()
            self._ledger.entries = {key: entry for key, entry in self.entries.items() if key not in gone}
            self._ledger.superseded = [entry for entry in self._ledger.superseded if entry.id not in gone]
            with _cannot_write(self.root):
                self._rewrite()

    def publish(self) -> None:
        """Bring Zarr's metadata and the derived arrays up to date with the ledger; unchanged files are left alone."""
        start = time.monotonic()
        documents = documents_of(self.attributes, self.entries.values())
        covered = (self._log.end, self._log.crc) if self._log else (ledger.ALL, 0)
        documents[SNAPSHOT] = ledger.dump_snapshot(self._lines(), *covered)
        documents[DIGESTS] = json.dumps({key: digest_bytes(data) for key, data in documents.items()}).encode()
        with _cannot_write(self.root):
            for key in sorted(documents, key=lambda key: (key == "zarr.json", key)):
                if not holds(self.root / key, documents[key]):
                    self._write(key, documents[key])
            for path in index.published_chunks(self.root):
                if path.relative_to(self.root).as_posix() not in documents:
                    path.unlink()
        now = time.monotonic()
        self._next_publication = now + max(PUBLISH_SECONDS, PUBLISH_SHARE * (now - start))

    def remove(self, ids: Collection[str]) -> None:
        """Leave nothing of the inputs `ids` in the cache: not their lines, nor the chunks of any version of them.

        Readers that have the cache open lose them too. Their lines go last, so that after a kill the same call finds
        what is left to do.
        """
        gone = [entry for entry in self._lines() if entry.id in ids]
        self.commit(Entry(name, "excluded", reason=REMOVED) for name in sorted({entry.id for entry in gone}))
        self.publish()
        rows = {entry.row for entry in gone if entry.row >= 0}
        with _cannot_write(self.root):
            for row in rows - {entry.row for entry in self.entries.values()}:
                _remove_chunk(self.root, row, self.attributes.layout)
        self.forget(ids)

    def sweep(self) -> None:
        """Remove the chunks that belong to no entry, earlier versions and what killed runs left, unless anybody may
        have opened them."""
        if not self._may_sweep:
            return
        with _cannot_write(self.root), lease.without_readers(self.root) as nobody:
            if not nobody:
                return
            wanted = {entry.row for entry in self.entries.values() if entry.state == "complete"}
            for row in _row_folders(self.root, self.attributes.layout):
                if row not in wanted:
                    _remove_chunk(self.root, row, self.attributes.layout)
            self._ledger.superseded = []

    def finish(self) -> None:
        """Publish for the last time, and say that nothing lags behind any more."""
        with _cannot_write(self.root):
            size = ledger_path(self.root).stat().st_size
        if self._log and size != self._added:  # a signal came within `commit`
            self._ledger = ledger.read(self.root / "ledger")
            self._log.end, self._log.crc = self._ledger.end, self._ledger.crc
        self.publish()
        with _cannot_write(self.root):
            for scratch in _scratch_folders(self.root, self.attributes.layout):
                flush_folder(scratch)  # or names that files had before they were renamed could come back
            (self.root / "ledger" / "unpublished").unlink()

    def close(self) -> None:
        if self._log:
            self._log.close()

    def _close_log(self) -> None:
        """From now on the snapshot stands for all of the log, until that is replaced."""
        self.close()
        self._log = None

    def _lines(self) -> list[Entry]:
        """The entries that a new log or snapshot holds: superseded ones first, as long as their chunks are there."""
        return [*self._ledger.superseded, *self.entries.values()]

    def write(self, key: str, data: bytes) -> None:
        """Make `key`, a POSIX path below the cache, a file of `data`, durably. Raises CacheError."""
        with _cannot_write(self.root):
            self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        inside = key.startswith(f"{self.attributes.layout.array}/")  # which may be on another disk
        scratch = self.root / (self.attributes.layout.array if inside else "ledger") / "partial"
        write_durably(self.root, self.root / key, data, scratch, self.linked)

    def _rewrite(self) -> None:
        """Replace the log by one of just the present entries; the snapshot stands for it meanwhile."""
        self._close_log()
        lines = self._lines()
        data = ledger.dump(lines)
        crc = zlib.crc32(data)
        self._write(SNAPSHOT, ledger.dump_snapshot(lines))
        self._write(f"ledger/{ledger.LOG}", data)
        self._write(SNAPSHOT, ledger.dump_snapshot(lines, len(data), crc))
        self._log = ledger.LedgerWriter(ledger_path(self.root), len(data), crc)
        self._added = self._log.end


def _may_be_appended(path: Path) -> bool:
    """True for a regular file, or where there is nothing yet."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _row_folders(root: Path, layout: Layout) -> list[int]:
    with os.scandir(root / layout.array / "c") as items:
        return [int(item.name) for item in items if index.is_number(item.name)]


def _remove_chunk(root: Path, row: int, layout: Layout) -> None:
    """Remove the chunk file of `row` and the folders that are empty then, durably."""
    path = chunk_path(root, row, layout)
    rows = root / layout.array / "c"
    if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(rows) and part != rows):
        return
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        path.unlink()
    for folder in path.parents:
        if folder != rows:
            with suppress(OSError):  # which is not empty
                folder.rmdir()
        if folder.is_dir():
            flush_folder(folder)
            break


@contextmanager
def writing(
    root: Path, attributes: Attributes, planned_on: Mapping[str, Entry], linked: str = ""
) -> Iterator[CacheWriter]:
    """Open the cache in `root` for writing, making it where there is none.

    The array's folder may be a link where `linked` is its name. Raises CacheLocked while another run writes, or where
    one has written since the entries `planned_on` were read, and CacheError where the folder cannot be written. However
    the block ends, short of a kill or a full disk, the derived arrays are published; where it ends well, chunks that
    belong to no entry are removed.
    """
    with _cannot_write(root):
        _check_links(root, attributes.layout, linked)
        make_folder(root / "ledger")
    with _lock(root):
        known = load(root)
        if known.entries != planned_on:
            raise CacheLocked(f"another run has written to {root} meanwhile; run the same command again")
        with _cannot_write(root):
            chunks = root / attributes.layout.array / "c"  # made here, or one worker would rely on another to flush it
            chunks.mkdir(parents=True, exist_ok=True)
            for scratch in _scratch_folders(root, attributes.layout):
                _clear(scratch)
            for name in MARKS:
                (root / "ledger" / name).touch()
            writer = CacheWriter(root, attributes, known, linked)
        with closing(writer):
            try:
                with _cannot_write(root):
                    for folder in (root / "ledger", chunks.parent, root, root.parent):
                        flush_folder(folder)  # a run killed on its start has made some of these and flushed none
                writer.publish()
                yield writer
            except BaseException:
                with suppress(CacheError):  # a full disk must not hide why the run ended; `unpublished` stays
                    writer.finish()
                raise
            writer.sweep()
            writer.finish()


def _check_links(root: Path, layout: Layout, linked: str) -> None:
    """Raise LinkInside where a folder or file that is written in place is a link."""
    for name in ("partial", "aside", *MARKS, ledger.LOG, *LOCK_FILES):
        check_inside(root, root / "ledger" / name)
    for name in ("c", "partial"):
        check_inside(root, root / layout.array / name, linked)


def _scratch_folders(root: Path, layout: Layout) -> tuple[Path, Path]:
    return root / "ledger" / "partial", root / layout.array / "partial"


def _clear(scratch: Path) -> None:
    """Make the folder `scratch` where there is none, and remove the files that a killed run left there."""
    scratch.mkdir(exist_ok=True)
    for path in scratch.iterdir():
        if len(path.name) == SCRATCH_NAME and path.is_file() and not path.is_symlink():
            path.unlink()


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
