"""Is every sample still what was written, and its source still what it was made from? Reads only."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cache import index, store
from cache.errors import DamagedSample, MissingSample, UnreadableSample
from cache.fingerprint import digest_files, digest_recipe
from cache.reader import load_ledger
from cache.schema import VOLUME, Entry, Layout, Source

THREADS = 4
LINE = "ledger line "  # what the key of a damaged ledger line begins with
BATCH = 256  # samples in flight, so that a large cache does not make a large queue


@dataclass
class Report:
    """Counts and, by id, reasons. A vanished source is no fault: the sample is whole, only not repeatable.

    `unreadable` samples may be sound: the system did not give their bytes.
    """

    ok: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.damaged or self.missing or self.unreadable or self.stale)


def verify(
    root: Path, percent: float = 100.0, seed: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Re-read and re-hash `percent` of the samples, and check the published arrays and the ledger as a whole.

    The samples are drawn anew each time, or by `seed`. `progress(done, total)` is called as they are checked. Raises
    NotACache.
    """
    attributes = store.read_attributes(root)
    lagging = store.unpublished(root)
    loaded, lost = load_ledger(root)
    complete = loaded.of_state("complete")
    remedy = attributes.layout.remedy
    report = Report(damaged={entry.id: f"{entry.reason}; {remedy} to rebuild it from its source" for entry in lost})
    if not lost:
        unbelieved = f"its checksum does not fit; {remedy} to drop it, which tells how to find again what it named"
        report.damaged |= dict.fromkeys((f"{LINE}{line}" for line in loaded.damaged), unbelieved)
    faults = index_faults(root, complete + lost, remedy)
    if not (lagging or store.unpublished(root)):  # no run was writing all the while
        report.damaged |= faults

    drawn = complete
    if percent < 100 and complete:
        drawn = random.Random(seed).sample(complete, max(1, round(len(complete) * percent / 100)))
    recipe = digest_recipe(attributes.recipe)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(drawn), BATCH):
            batch = drawn[start : start + BATCH]
            faulty = pool.map(lambda entry: check(root, entry, recipe, attributes.layout), batch)
            for entry, fault in zip(batch, faulty, strict=True):
                _file(report, entry, *fault)
            if progress:
                progress(start + len(batch), len(drawn))
    return report


def check(root: Path, entry: Entry, recipe: str, layout: Layout = VOLUME) -> tuple[str, str]:
    """What is wrong with one sample: ("", ""), or damaged, missing, unreadable, stale or vanished with the reason."""
    try:
        store.checked_bytes(root, entry, layout)
    except MissingSample:
        return "missing", f"its chunk {store.chunk_path(root, entry.row, layout)} is gone; {layout.remedy}"
    except UnreadableSample as error:
        return "unreadable", str(error).removeprefix(f"{entry.id}: ")
    except DamagedSample as error:
        return "damaged", str(error).removeprefix(f"{entry.id}: ")
    if entry.recipe != recipe:
        return "stale", f"it was made by another recipe than the cache's; {layout.remedy}"
    change = source_change(entry.source)
    if change == "changed":
        return "stale", f"its source {entry.source.paths[0]} has changed since; {layout.remedy}"
    return ("vanished", "its source is gone") if change == "vanished" else ("", "")


def source_change(source: Source) -> str:
    """Empty while the files are those recorded, else "changed" or "vanished"; reads bytes only where times differ."""
    try:
        stats = [path.stat() for path in source.paths]
        if sum(s.st_size for s in stats) != source.size:
            return "changed"
        if sum(s.st_mtime_ns for s in stats) == source.mtime_ns:
            return ""
        return "" if digest_files(source.paths) == source.digest else "changed"
    except (OSError, ValueError):  # ValueError: a path that no system could hold
        return "vanished"


def index_faults(root: Path, complete: list[Entry], remedy: str) -> dict[str, str]:
    """What plain Zarr users would read otherwise than it was published, or than the ledger says: by its key."""
    try:
        published = json.loads((root / store.DIGESTS).read_bytes())
        changed = [key for key in published if not _is_digest_of(published[key], root / key)]
    except (OSError, ValueError, TypeError, RecursionError):
        changed = [store.DIGESTS]
    if not changed and index.published_rows(root) != index.rows_of(complete):
        changed = list(index.COLUMNS)
    return dict.fromkeys(changed, f"it is not what was published; {remedy} to publish it again")


def _is_digest_of(digest: str, path: Path) -> bool:
    try:
        return path.is_file() and digest_files([path]) == digest
    except OSError:
        return False


def _file(report: Report, entry: Entry, state: str, reason: str) -> None:
    if state in ("", "vanished"):
        report.ok += 1
        if state:
            report.vanished.append(entry.id)
    else:
        getattr(report, state)[entry.id] = reason
