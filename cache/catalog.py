"""What a cache says about itself and its inputs: attributes, ledger and derived arrays, read together."""

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
MAX_DOCUMENT = 1 << 23  # bytes of a `zarr.json`: that of a cache with the most class names takes less
LOST, REMOVED = "its ledger line is lost", "it is being removed"
MARKS = ("unpublished", "readers")  # files without content in ledger/
MANY_FOLDERS = 10_000  # that hold no file, so that whatever they are for, it is not a cache


def ledger_path(root: Path) -> Path:
    return root / "ledger" / ledger.LOG


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
    def is_complete(self) -> bool:
        """True where the log of the ledger alone says everything."""
        return self.ledger.is_complete and not self.lost


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
        return {row for row in row_folders(root, VOLUME) if _is_file(f"{folder}/{row}/0/0/0")}
    except OSError as error:
        if error.errno in ABSENT:
            return set()
        raise CacheError(cannot_read(folder, error)) from error


def row_folders(root: Path, layout: Layout) -> list[int]:
    with os.scandir(root / layout.array / "c") as items:
        return [int(item.name) for item in items if index.is_number(item.name)]


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
