"""Reads the contents of a cache: its attributes, and the inputs in its ledger and derived arrays."""

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cache import index, ledger
from cache.confined import UnexpectedFile, read_regular
from cache.errors import CacheError, NotACache
from cache.fingerprint import digest_bytes
from cache.lock import LOCK_FILES
from cache.oserrors import ABSENT, cannot_read
from cache.schema import MAX_ROWS, UNLABELLED, VOLUME, Attributes, Entry, Layout
from cache.store import chunk_path

DIGESTS, SNAPSHOT = "ledger/digests.json", f"ledger/{ledger.SNAPSHOT}"
MAX_DOCUMENT = 1 << 23  # bytes of a zarr.json; with the most class names it has fewer
LOST_LINE, BEING_REMOVED = "its ledger line is lost", "it is being removed"
MARKS = ("unpublished", "readers")  # empty files in ledger/
MAX_EMPTY_FOLDERS = 10_000  # a tree with more folders and no file is not the start of a cache


def ledger_path(root: Path) -> Path:
    """The log of the ledger."""
    return root / "ledger" / ledger.LOG


def read_attributes(root: Path) -> Attributes:
    """The attributes of the cache in `root`, from their copy if its own `zarr.json` is lost, damaged or unreadable.

    Raises NotACache where this version can read neither, or where they differ and no digest decides; CacheError where
    the system cannot read them.
    """
    documents: dict[Path, tuple[bytes, Attributes]] = {}
    faults: list[CacheError] = []
    for path in _attribute_files(root):
        try:
            document = _read_document(path)
        except CacheError as error:
            faults.append(error)
            continue
        if document:
            documents[path] = document
    if not documents:
        advice = (
            "restore it, or delete the cache and build it again" if is_started(root) else "build one with `preprocess`"
        )
        raise (faults or [NotACache(f"{root} is not a cache: it has no readable zarr.json; {advice}")])[0]
    (_, first), *others = documents.values()
    if all(other == first for _, other in others):
        return first
    return _last_published(root, documents)


def _read_document(path: Path) -> tuple[bytes, Attributes] | None:
    """A zarr.json as bytes and as attributes; None where it does not exist or is not JSON. Raises CacheError."""
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


def _last_published(root: Path, documents: Mapping[Path, tuple[bytes, Attributes]]) -> Attributes:
    """The attributes that were published last, of documents that differ. Raises NotACache."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        digests = json.loads(read_regular(root / DIGESTS, MAX_DOCUMENT))
        for path, (data, attributes) in documents.items():
            if digests.get(path.relative_to(root).as_posix()) == digest_bytes(data):
                return attributes
    first, second = documents
    raise NotACache(
        f"{first} and its copy {second} describe different caches, and no digest says which is right; restore them, or "
        "delete the wrong one"
    )


def has_attributes(root: Path) -> bool:
    """Whether `root` has a zarr.json that is not empty, even if it is unreadable or of another format."""
    return any(path.is_file() and path.stat().st_size for path in _attribute_files(root))


def _attribute_files(root: Path) -> tuple[Path, Path]:
    return root / "zarr.json", root / "ledger" / "zarr.json"


def read_entries(root: Path) -> dict[str, Entry]:
    """The last entry of every input by id, lost ones restored as in `read_contents`; empty if there is no ledger."""
    return read_contents(root).entries


@dataclass
class CacheContents:
    """The inputs of a cache: its `ledger`, which includes the samples in `lost`, whose own lines are lost.

    Those come from the derived arrays, which have only their id, row, label and group.
    """

    ledger: ledger.Ledger
    lost: list[Entry] = field(default_factory=list)

    @property
    def entries(self) -> dict[str, Entry]:
        """The last entry of every input by id."""
        return self.ledger.entries

    @property
    def is_complete(self) -> bool:
        """Whether the log of the ledger alone has every entry."""
        return self.ledger.is_complete and not self.lost


def read_contents(root: Path) -> CacheContents:
    """Read all inputs of the cache in `root`. Raises CacheError where the system cannot read it.

    The arrays are read first: a sample that a running `preprocess` commits in between is then in both or in the ledger.
    """
    rows = index.published_rows(root)
    contents = CacheContents(ledger.read(root / "ledger"))
    taken = {entry.row for entry in contents.entries.values()}
    for row, (name, label, group) in sorted(rows.items()):
        if row not in taken and name not in contents.entries:
            with suppress(ValueError):  # no sample can have this id
                lost = Entry(name, "complete", row=row, label=_label(label), group=group, reason=LOST_LINE)
                contents.lost.append(lost)
                contents.entries[name] = lost
    return contents


def _label(label: int) -> int:
    return label if 0 <= label < MAX_ROWS else UNLABELLED


def reserved_rows(root: Path, contents: CacheContents, layout: Layout) -> set[int]:
    """Rows of superseded samples whose chunks readers may still have open; nothing may be written there."""
    rows = {entry.row for entry in contents.ledger.superseded if entry.row >= 0}
    return {row for row in rows if chunk_path(root, row, layout).exists()}


def rows_present(root: Path) -> set[int]:
    """The rows of a volume cache that have a chunk file. Raises CacheError where the system cannot tell."""
    folder = root / VOLUME.array / "c"
    try:
        return {row for row in row_folders(root, VOLUME) if _is_file(f"{folder}/{row}/0/0/0")}
    except OSError as error:
        if error.errno in ABSENT:
            return set()
        raise CacheError(cannot_read(folder, error)) from error


def row_folders(root: Path, layout: Layout) -> list[int]:
    """The rows that have a folder of chunks."""
    with os.scandir(root / layout.array / "c") as items:
        return [int(item.name) for item in items if index.is_number(item.name)]


def _is_file(path: str) -> bool:
    """Like os.path.isfile, but raises errors that leave open whether the file exists."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - for 100,000 rows
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise


def is_started(root: Path) -> bool:
    """Whether a run has started a cache in `root`, even if its `zarr.json` is missing or damaged.

    A power cut may leave any of the files that a run makes first.
    """
    return any((root / "ledger" / name).is_file() for name in ("lock", *MARKS, ledger.LOG))


def is_empty(root: Path) -> bool:
    """Whether a folder has no files at any depth, except those of a lock left by a run that was killed at its start.

    A large tree of folders is not searched to its end. Raises OSError.
    """
    locks = {str(root / "ledger" / name) for name in LOCK_FILES}
    folders = [str(root)]
    for folder in folders:  # the list grows
        with os.scandir(folder) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                elif item.path not in locks:
                    return False
        if len(folders) > MAX_EMPTY_FOLDERS:
            return False
    return True


def unpublished(root: Path) -> bool:
    """Whether the derived arrays may lag behind the ledger: while a run writes, or after one that was killed."""
    return (root / "ledger" / "unpublished").exists()
