"""The cache on disk: who writes what, in which order, and what a crash leaves behind.

    CACHE/                    a Zarr v3 group; attributes: kind, recipe, class_names, format_version, sources
      volume/c/ROW/0/0/0      one sample, one chunk file, written once by the worker that made it; in a cache of
                              features it is features/c/ROW/0/0, or features/c/ROW/0/0/0 with an axis of angles
      label/ sample_id/ group/   small arrays over the sample axis, derived from the ledger
      ledger/                 a group without arrays, with a copy of the attributes
        entries.jsonl         the outcome of every input (see `ledger.py`), written by the coordinator: the truth
        snapshot.jsonl        the same as last published, so that losing one of the two loses nothing
        lock, lock.owner      held by the one run that may write, and its identity (see `lock.py`)
        readers               shared lock of everyone who has the cache open (see `lease.py`)
        partial/              files being written, renamed when complete; those of chunks are in volume/partial
        aside/                foreign files and folders that had the name of the cache's own: moved, never deleted
        digests.json          digests of the metadata, the snapshot and the derived arrays, as last published
        unpublished           present while the derived arrays may lag behind the ledger

The order for a sample: its chunk is written to a temporary file, flushed and renamed; the folders that contain it are
flushed; then its ledger line is appended and flushed. After a kill in between, the chunk has no line, and the next run
makes the sample again. A new version of a sample gets another row; the chunk of the old version is removed after the
commit, once no reader has the cache open. The derived arrays and all Zarr metadata are built in memory (`index.py`) and
published file by file, the group's own `zarr.json` last, so a reader never sees half a document. No writer follows a
link inside CACHE, except the array's folder on another disk where the caller allows it (`linked`).
"""

import json
import math
import stat
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from cache import index, lease, ledger
from cache.catalog import (
    BEING_REMOVED,
    DIGESTS,
    MARKS,
    SNAPSHOT,
    CacheContents,
    ledger_path,
    read_contents,
    reserved_rows,
    row_folders,
)
from cache.confined import check_inside
from cache.durable import flush_folder, has_content, make_folder, write_durably
from cache.errors import CacheError, CacheLocked
from cache.fingerprint import digest_bytes
from cache.index import documents_of
from cache.lock import LOCK_FILES, LockHeld, exclusive
from cache.schema import Attributes, Entry, Layout
from cache.store import remove_chunk
from cache.write_errors import write_errors

PUBLISH_SECONDS = 30.0  # between publications
PUBLISH_SHARE = 20  # publishing takes at most 1/20 of the time of a run
MAX_PUBLISHED = 2 * index.MAX_CHUNK_BYTES  # for one file of a derived array or its metadata
PARTIAL_NAME_LENGTH = 32  # characters of the name of a file that is being written


class CacheWriter:
    """The one writer of a cache: commits entries and publishes the derived arrays. Made by `open_writer`."""

    def __init__(self, root: Path, attributes: Attributes, contents: CacheContents, linked: str) -> None:
        self.root, self.attributes, self.linked = root, attributes, linked
        self.reserved_rows = reserved_rows(root, contents, attributes.layout)
        self._ledger = contents.ledger
        self._may_sweep = contents.is_complete  # otherwise a chunk without an entry may be all that is left of a sample
        self._next_publication = math.inf
        self._log: ledger.LedgerWriter | None = None
        compact = contents.ledger.lines <= 2 * len(contents.entries) + 1000
        if contents.is_complete and compact and _may_be_appended(ledger_path(root)):
            self._log = ledger.LedgerWriter(ledger_path(root), contents.ledger.end, contents.ledger.crc)
            self._added = self._log.end
        else:
            self._rewrite()

    @property
    def entries(self) -> dict[str, Entry]:
        """The last entry of every input by id."""
        return self._ledger.entries

    def commit(self, entries: Iterable[Entry]) -> None:
        """Append `entries` to the ledger, durably, in place of earlier ones of the same ids; publish at intervals."""
        new = list(entries)
        if not new:
            return
        if self._log is None:
            raise CacheError(f"the ledger of {self.root} could not be replaced; run the same command again")
        with write_errors(self.root):
            self._log.append(new)
        for entry in new:
            self._ledger.add(entry)
        self._added = self._log.end
        if time.monotonic() > self._next_publication:
            self.publish()

    def forget(self, ids: Iterable[str]) -> None:
        """Remove the entries of `ids` from the ledger and its snapshot."""
        removed = self.entries.keys() & set(ids)
        if removed:
            self._close_log()
            self._ledger.entries = {key: entry for key, entry in self.entries.items() if key not in removed}
            self._ledger.superseded = [entry for entry in self._ledger.superseded if entry.id not in removed]
            with write_errors(self.root):
                self._rewrite()

    def publish(self) -> None:
        """Update Zarr's metadata and the derived arrays from the ledger; unchanged files are not written."""
        start = time.monotonic()
        documents = documents_of(self.attributes, self.entries.values())
        coverage = (self._log.end, self._log.crc) if self._log else (ledger.ALL, 0)
        documents[SNAPSHOT] = ledger.dump_snapshot(self._lines(), *coverage)
        documents[DIGESTS] = json.dumps({key: digest_bytes(data) for key, data in documents.items()}).encode()
        with write_errors(self.root):
            for key in sorted(documents, key=lambda key: (key == "zarr.json", key)):
                if not has_content(self.root / key, documents[key]):
                    self._write(key, documents[key])
            for path in index.published_chunks(self.root):
                if path.relative_to(self.root).as_posix() not in documents:
                    path.unlink()
        now = time.monotonic()
        self._next_publication = now + max(PUBLISH_SECONDS, PUBLISH_SHARE * (now - start))

    def remove(self, ids: Collection[str]) -> None:
        """Delete every trace of the inputs `ids`: their lines, and the chunks of all their versions.

        Readers that have the cache open lose them too. The lines are deleted last, so that the same call completes the
        work of one that was killed.
        """
        removed = [entry for entry in self._lines() if entry.id in ids]
        self.commit(Entry(name, "excluded", reason=BEING_REMOVED) for name in sorted({entry.id for entry in removed}))
        self.publish()
        rows = {entry.row for entry in removed if entry.row >= 0}
        with write_errors(self.root):
            for row in rows - {entry.row for entry in self.entries.values()}:
                remove_chunk(self.root, row, self.attributes.layout)
        self.forget(ids)

    def sweep(self) -> None:
        """Remove chunks without an entry (earlier versions, leftovers of killed runs), unless readers may use them."""
        if not self._may_sweep:
            return
        with write_errors(self.root), lease.without_readers(self.root) as has_no_readers:
            if not has_no_readers:
                return
            used = {entry.row for entry in self.entries.values() if entry.state == "complete"}
            for row in row_folders(self.root, self.attributes.layout):
                if row not in used:
                    remove_chunk(self.root, row, self.attributes.layout)
            self._ledger.superseded = []

    def finish(self) -> None:
        """Publish for the last time, and remove the mark `unpublished`."""
        with write_errors(self.root):
            size = ledger_path(self.root).stat().st_size
        if self._log and size != self._added:  # a signal interrupted `commit`
            self._ledger = ledger.read(self.root / "ledger")
            self._log.end, self._log.crc = self._ledger.end, self._ledger.crc
        self.publish()
        with write_errors(self.root):
            for scratch in scratch_folders(self.root, self.attributes.layout):
                flush_folder(scratch)  # otherwise a power cut could bring back names from before a rename
            (self.root / "ledger" / "unpublished").unlink()

    def close(self) -> None:
        """Close the log; nothing can be committed afterwards."""
        if self._log:
            self._log.close()

    def _close_log(self) -> None:
        """Close the log before it is replaced; until then the snapshot stands for all of it."""
        self.close()
        self._log = None

    def _lines(self) -> list[Entry]:
        """The entries of a new log or snapshot: superseded ones, whose chunks still exist, come first."""
        return [*self._ledger.superseded, *self.entries.values()]

    def write(self, key: str, data: bytes) -> None:
        """Write `data` to the file `key`, a POSIX path below the cache, durably. Raises CacheError."""
        with write_errors(self.root):
            self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        in_array = key.startswith(f"{self.attributes.layout.array}/")  # which may be on another disk
        scratch = self.root / (self.attributes.layout.array if in_array else "ledger") / "partial"
        write_durably(self.root, self.root / key, data, scratch, self.linked)

    def _rewrite(self) -> None:
        """Replace the log by one with the current entries only; meanwhile the snapshot stands for it."""
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
    """Whether `path` is a regular file or does not exist."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


@contextmanager
def open_writer(
    root: Path, attributes: Attributes, planned_on: Mapping[str, Entry], linked: str = ""
) -> Iterator[CacheWriter]:
    """Open the cache in `root` for writing, and create it if it does not exist.

    The array's folder may be a link if `linked` is its name. Raises CacheLocked while another run writes, or if one has
    written since the entries `planned_on` were read; CacheError where the folder cannot be written. When the block
    ends, also by an exception, the derived arrays are published; without an exception, chunks that belong to no entry
    are removed.
    """
    with write_errors(root):
        _check_links(root, attributes.layout, linked)
        make_folder(root / "ledger")
    with _lock(root):
        contents = read_contents(root)
        if contents.entries != planned_on:
            raise CacheLocked(f"another run has written to {root} since; run the same command again")
        with write_errors(root):
            chunks = root / attributes.layout.array / "c"  # made here, so that no worker relies on another to flush it
            chunks.mkdir(parents=True, exist_ok=True)
            for scratch in scratch_folders(root, attributes.layout):
                _clear(scratch)
            for name in MARKS:
                (root / "ledger" / name).touch()
            writer = CacheWriter(root, attributes, contents, linked)
        with closing(writer):
            try:
                with write_errors(root):
                    for folder in (root / "ledger", chunks.parent, root, root.parent):
                        flush_folder(folder)  # a run that was killed at its start may have made these without flushing
                writer.publish()
                yield writer
            except BaseException:
                with suppress(CacheError):  # a full disk must not hide the reason; `unpublished` stays
                    writer.finish()
                raise
            writer.sweep()
            writer.finish()


def _check_links(root: Path, layout: Layout, linked: str) -> None:
    """Raise LinkInside if a folder or file that is written in place is a link."""
    for name in ("partial", "aside", *MARKS, ledger.LOG, *LOCK_FILES):
        check_inside(root, root / "ledger" / name)
    for name in ("c", "partial"):
        check_inside(root, root / layout.array / name, linked)


def scratch_folders(root: Path, layout: Layout) -> tuple[Path, Path]:
    """The folders of files that are being written: for the ledger, and for chunks."""
    return root / "ledger" / "partial", root / layout.array / "partial"


def _clear(scratch: Path) -> None:
    """Create the folder `scratch`, and remove the files that killed runs left in it."""
    scratch.mkdir(exist_ok=True)
    for path in scratch.iterdir():
        if len(path.name) == PARTIAL_NAME_LENGTH and path.is_file() and not path.is_symlink():
            path.unlink()


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with write_errors(root):
            try:
                stack.enter_context(exclusive(root / "ledger" / "lock"))
            except LockHeld as error:
                raise CacheLocked(
                    f"another run is writing to {root}{error.holder}; wait for it to end, or choose another CACHE"
                    f"{error.advice}"
                ) from error
        yield
