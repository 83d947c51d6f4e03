"""Verification: is every sample intact, and is its source unchanged? Reads only."""

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
LINE = "ledger line "  # prefix of the key of a damaged ledger line
LOG = f"ledger/{ledger.LOG}"
BATCH = 256  # samples in the queue of the threads at a time


@dataclass
class Report:
    """The number of intact samples, and the reasons for all others, by id.

    Samples whose source has `vanished` are intact, but cannot be made again. `unreadable` samples may be intact: the
    system could not read them.
    """

    ok: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing needs repair."""
        return not (self.damaged or self.missing or self.unreadable or self.stale)


def verify(root: Path, percent: float = 100.0, seed: int | None = None, callback: Callback | None = None) -> Report:
    """Read and hash `percent` of the samples, and check all published arrays and the ledger.

    Samples are chosen at random, by `seed` if it is set. `callback.on_progress` is called as they are checked. Raises
    NotACache.
    """
    attributes = catalog.read_attributes(root)
    lagging = catalog.unpublished(root)
    contents = catalog.read_contents(root)
    complete = contents.ledger.in_state("complete")
    advice = attributes.layout.remedy
    report = Report(damaged=ledger_faults(contents, advice))
    faults = index_faults(root, complete, advice)
    if not (lagging or catalog.unpublished(root)):  # no run was writing in the meantime
        report.damaged |= faults

    chosen = complete
    if percent < 100 and complete:
        chosen = random.Random(seed).sample(complete, max(1, round(len(complete) * percent / 100)))
    recipe = digest_recipe(attributes.recipe)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            results = pool.map(lambda entry: check(root, entry, recipe, attributes.layout), batch)
            for entry, result in zip(batch, results, strict=True):
                _add(report, entry, *result)
            if callback:
                callback.on_progress(start + len(batch), len(chosen))
    if attributes.layout is not VOLUME:
        _move_vanished(report, [entry for entry in chosen if entry.id in report.stale and entry.recipe == recipe])
    return report


def _move_vanished(report: Report, stale: Sequence[Entry]) -> None:
    """Move stale features to `vanished` where the volume cache no longer has their sample; its row may be reused."""
    for root in {entry.source.root for entry in stale}:
        try:
            volumes = catalog.read_entries(Path(root))
        except CacheError:
            continue
        for name in [entry.id for entry in stale if entry.source.root == root]:
            if name not in volumes or volumes[name].state != "complete":
                del report.stale[name]
                report.vanished.append(name)


def ledger_faults(contents: catalog.CacheContents, advice: str) -> dict[str, str]:
    """The faults of the ledger's files: key of the file or line → reason."""
    faults = {}
    if contents.ledger.fault not in ("", ledger.REPLACED):
        faults[LOG] = f"{contents.ledger.fault}; {advice} to write it again from its copy, if that is intact"
    if not contents.lost:  # otherwise the lost samples are named instead
        reason = f"its checksum is wrong; {advice} to drop it, which says how to get its sample back"
        faults |= dict.fromkeys((f"{LINE}{line}" for line in contents.ledger.damaged), reason)
    return faults


def check(root: Path, entry: Entry, recipe: str, layout: Layout = VOLUME) -> tuple[str, str]:
    """The state of one sample and the reason: damaged, missing, unreadable, stale or vanished; ("", "") if intact."""
    try:
        store.check_chunk(root, entry, layout)
    except MissingSample:
        return "missing", f"its chunk {store.chunk_path(root, entry.row, layout)} does not exist; {layout.remedy}"
    except UnreadableSample as error:
        return "unreadable", str(error).removeprefix(f"{entry.id}: ")
    except DamagedSample as error:
        return "damaged", str(error).removeprefix(f"{entry.id}: ")
    if entry.recipe != recipe:
        return "stale", f"it was made by a recipe other than the cache's; {layout.remedy}"
    try:
        change = source_change(entry.source)
    except OSError as error:
        advice = remedy(error, "check the disk and its permissions")
        return "unreadable", f"its source {entry.file} cannot be compared: {reason(error)}; {advice}"
    if change == "changed":
        return "stale", f"its source {entry.file} has changed since; {layout.remedy}"
    return ("vanished", "its source does not exist any more") if change == "vanished" else ("", "")


def source_change(source: Source) -> str:
    """ "" if the files are those recorded, else "changed" or "vanished"; bytes are read only where times differ.

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
    except ValueError:  # a path that no system can have
        return "vanished"


def index_faults(root: Path, complete: list[Entry], advice: str) -> dict[str, str]:
    """Published files that differ from their digest or from the ledger, and so mislead plain Zarr: key → reason."""
    try:
        published = json.loads(read_regular(root / catalog.DIGESTS, catalog.MAX_DOCUMENT))
        limits = {catalog.SNAPSHOT: ledger.snapshot_bytes(root / "ledger")}
        changed = [
            key
            for key in map(_checked_key, published)
            if not _is_digest_of(published[key], root / key, limits.get(key, cache_writer.MAX_PUBLISHED))
        ]
    except (OSError, ValueError, TypeError, RecursionError):
        changed = [catalog.DIGESTS]
    if not changed and index.published_rows(root) != index.rows_of(complete):
        changed = list(index.COLUMNS)
    return dict.fromkeys(changed, f"it has changed since it was published; {advice} to publish it again")


def _checked_key(key: str) -> str:
    """`key` itself. Raises ValueError if it is not a relative path that stays below the cache."""
    if key.startswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"key {key!r:.{SHOWN}}")
    return key


def _is_digest_of(digest: str, path: Path, max_bytes: int) -> bool:
    """Whether `path` is a file of at most `max_bytes` bytes with this digest."""
    try:
        with open_regular(path, max_bytes) as file:
            return digest_stream(file) == digest
    except OSError:
        return False


def _add(report: Report, entry: Entry, state: str, reason: str) -> None:
    if state in ("", "vanished"):
        report.ok += 1
        if state:
            report.vanished.append(entry.id)
    else:
        getattr(report, state)[entry.id] = reason
