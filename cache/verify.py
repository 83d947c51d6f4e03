"""Is every sample still what was written, and its source still what it was made from? Reads only."""

import errno
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cache import catalog, index, ledger, store
from cache import writer as cache_writer
from cache.confined import UnexpectedFile, open_regular, read_regular
from cache.errors import CacheError, DamagedSample, MissingSample, UnreadableSample
from cache.fingerprint import digest_files, digest_recipe, digest_stream
from cache.oserrors import ABSENT, reason, remedy
from cache.progress import Callback
from cache.schema import VOLUME, Entry, Layout, Source
from cache.text import SHOWN

THREADS = 4
LINE = "ledger line "  # what the key of a damaged ledger line begins with
LOG = f"ledger/{ledger.LOG}"
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


def verify(root: Path, percent: float = 100.0, seed: int | None = None, callback: Callback | None = None) -> Report:
    """Re-read and re-hash `percent` of the samples, and check the published arrays and the ledger as a whole.

    Samples are drawn at random, or by `seed`. `callback.on_progress` is called as they are checked. Raises NotACache.
    """
    attributes = catalog.read_attributes(root)
    lagging = catalog.unpublished(root)
    known = catalog.read_contents(root)
    complete = known.ledger.of_state("complete")
    todo = attributes.layout.remedy
    report = Report(damaged=ledger_faults(known, todo))
    faults = index_faults(root, complete, todo)
    if not (lagging or catalog.unpublished(root)):  # no run was writing all the while
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
            if callback:
                callback.on_progress(start + len(batch), len(drawn))
    if attributes.layout is not VOLUME:
        _let_go(report, [entry for entry in drawn if entry.id in report.stale and entry.recipe == recipe])
    return report


def _let_go(report: Report, stale: Sequence[Entry]) -> None:
    """File features as vanished whose sample the volume cache no longer has: its row may be another's by now."""
    for root in {entry.source.root for entry in stale}:
        try:
            volumes = catalog.read_entries(Path(root))
        except CacheError:
            continue
        for name in [entry.id for entry in stale if entry.source.root == root]:
            if name not in volumes or volumes[name].state != "complete":
                del report.stale[name]
                report.vanished.append(name)


def ledger_faults(known: catalog.CacheContents, todo: str) -> dict[str, str]:
    """What is wrong with the ledger's files, by the key of what cannot be believed."""
    faults = {}
    if known.ledger.fault not in ("", ledger.REPLACED):
        faults[LOG] = f"{known.ledger.fault}; what it said is in its copy, if that is whole; {todo} to write it again"
    if not known.lost:  # or it is known whose lines they were
        unbelieved = f"its checksum does not fit; {todo} to drop it, which tells how to find again what it named"
        faults |= dict.fromkeys((f"{LINE}{line}" for line in known.ledger.damaged), unbelieved)
    return faults


def check(root: Path, entry: Entry, recipe: str, layout: Layout = VOLUME) -> tuple[str, str]:
    """What is wrong with one sample: ("", ""), or damaged, missing, unreadable, stale or vanished with the reason."""
    try:
        store.check_chunk(root, entry, layout)
    except MissingSample:
        return "missing", f"its chunk {store.chunk_path(root, entry.row, layout)} is gone; {layout.remedy}"
    except UnreadableSample as error:
        return "unreadable", str(error).removeprefix(f"{entry.id}: ")
    except DamagedSample as error:
        return "damaged", str(error).removeprefix(f"{entry.id}: ")
    if entry.recipe != recipe:
        return "stale", f"it was made by another recipe than the cache's; {layout.remedy}"
    try:
        change = source_change(entry.source)
    except OSError as error:
        todo = remedy(error, "check the disk and its permissions")
        return "unreadable", f"its source {entry.file} cannot be compared: {reason(error)}; {todo}"
    if change == "changed":
        return "stale", f"its source {entry.file} has changed since; {layout.remedy}"
    return ("vanished", "its source is gone") if change == "vanished" else ("", "")


def source_change(source: Source) -> str:
    """Empty while the files are those recorded, else "changed" or "vanished"; reads bytes only where times differ.

    Raises OSError where the system cannot tell.
    """
    try:
        stats = [path.stat() for path in source.paths]
        if sum(s.st_size for s in stats) != source.size:
            return "changed"
        if sum(s.st_mtime_ns for s in stats) == source.mtime_ns:
            return ""
        return "" if digest_files(source.paths) == source.digest else "changed"
    except UnexpectedFile:
        return "changed"
    except OSError as error:
        if error.errno not in ABSENT | {errno.ENAMETOOLONG}:
            raise
        return "vanished"
    except ValueError:  # a path that no system could hold
        return "vanished"


def index_faults(root: Path, complete: list[Entry], todo: str) -> dict[str, str]:
    """What plain Zarr users would read otherwise than it was published, or than the ledger says: by its key."""
    try:
        published = json.loads(read_regular(root / catalog.DIGESTS, catalog.MAX_DOCUMENT))
        most = {catalog.SNAPSHOT: ledger.snapshot_bytes(root / "ledger")}
        changed = [
            key
            for key in map(_checked_key, published)
            if not _is_digest_of(published[key], root / key, most.get(key, cache_writer.MAX_PUBLISHED))
        ]
    except (OSError, ValueError, TypeError, RecursionError):
        changed = [catalog.DIGESTS]
    if not changed and index.published_rows(root) != index.rows_of(complete):
        changed = list(index.COLUMNS)
    return dict.fromkeys(changed, f"it is not what was published; {todo} to publish it again")


def _checked_key(key: str) -> str:
    """`key` itself. Raises ValueError if it is not a relative path that stays below the cache."""
    if key.startswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"key {key!r:.{SHOWN}}")
    return key


def _is_digest_of(digest: str, path: Path, most: int) -> bool:
    """True for a file of at most `most` bytes with this digest."""
    try:
        with open_regular(path, most) as file:
            return digest_stream(file) == digest
    except OSError:
        return False


def _file(report: Report, entry: Entry, state: str, reason: str) -> None:
    if state in ("", "vanished"):
        report.ok += 1
        if state:
            report.vanished.append(entry.id)
    else:
        getattr(report, state)[entry.id] = reason
