"""Is every sample still what was written, and its source still what it was made from? Reads only."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache import ledger, store
from cache.errors import DamagedSample
from cache.fingerprint import digest_files, digest_recipe
from cache.reader import lost_entries
from cache.schema import Attributes, Entry, Source

THREADS = 4
BATCH = 256  # samples in flight, so that a large cache does not make a large queue


@dataclass
class Report:
    """Counts and, by id, reasons. A vanished source is no fault: the sample is whole, only not repeatable."""

    ok: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.damaged or self.missing or self.stale)


def verify(
    root: Path, percent: float = 100.0, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Re-read and re-hash `percent` of the samples, drawn by `seed`, and check the index and the ledger as a whole.

    `progress(done, total)` is called as samples are checked. Raises NotACache.
    """
    attributes = store.read_attributes(root)
    loaded = ledger.load(store.ledger_path(root))
    complete = loaded.of_state("complete")
    drawn = complete
    if percent < 100:
        count = max(1, round(len(complete) * percent / 100)) if complete else 0
        drawn = random.Random(seed).sample(complete, count)

    report = Report()
    recipe = digest_recipe(attributes.recipe)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(drawn), BATCH):
            batch = drawn[start : start + BATCH]
            for entry, fault in zip(batch, pool.map(lambda e: check(root, e, recipe), batch), strict=True):
                _file(report, entry, *fault)
            if progress:
                progress(start + len(batch), len(drawn))
    for entry in lost_entries(root, loaded.entries):
        report.damaged[entry.id] = "its ledger line is lost; run `repair` to rebuild it from its source"
    for line in loaded.damaged if not report.damaged else ():
        report.damaged[f"ledger line {line}"] = "its checksum does not fit; run `repair` to drop it"
    if not store.unpublished(root):
        report.damaged |= {
            key: fault for key, fault in index_faults(root, attributes, complete).items() if key not in report.damaged
        }
    return report


def check(root: Path, entry: Entry, recipe: str) -> tuple[str, str]:
    """What is wrong with one sample: ("", ""), or one of damaged, missing, stale, vanished with the reason."""
    if not store.chunk_path(root, entry.row).is_file():
        return "missing", f"its chunk {store.chunk_path(root, entry.row)} is gone; run `repair`"
    try:
        store.checked_bytes(root, entry)
    except DamagedSample as error:
        return "damaged", str(error).removeprefix(f"{entry.id}: ")
    if entry.recipe != recipe:
        return "stale", "it was made by another recipe than the cache's; run `repair`"
    change = source_change(entry.source)
    if change == "changed":
        return "stale", f"its source {entry.source.paths[0]} has changed since; run `preprocess` or `repair`"
    return ("vanished", "its source is gone") if change == "vanished" else ("", "")


def source_change(source: Source) -> str:
    """Empty while the files are those recorded, else "changed" or "vanished"; reads bytes only where times differ."""
    try:
        stats = [path.stat() for path in source.paths]
        if sum(s.st_size for s in stats) != source.size:
            return "changed"
        if max((s.st_mtime_ns for s in stats), default=0) == source.mtime_ns:
            return ""
        return "" if digest_files(source.paths) == source.digest else "changed"
    except OSError:
        return "vanished"


def index_faults(root: Path, attributes: Attributes, complete: list[Entry]) -> dict[str, str]:
    """Where the published arrays, which plain Zarr users read, differ from the ledger: by id, or by array."""
    import zarr

    faults: dict[str, str] = {}
    arrays: dict[str, Any] = {}
    for name in ("volume", "label", "sample_id", "group"):
        try:
            array = zarr.open_array(root / name, mode="r")
            arrays[name] = array.shape[1:] if name == "volume" else np.asarray(array[:]).tolist()
        except Exception as error:  # noqa: BLE001 - whatever a damaged document or chunk raises
            faults[name] = f"the {name} array cannot be read ({type(error).__name__}); run `repair` to publish it again"
    if faults:
        return faults
    if arrays["volume"] != attributes.shape:
        return {"volume": f"its shape is {arrays['volume']}, expected {attributes.shape}; run `repair`"}
    rows = {entry.row: entry for entry in complete}
    for row, published in enumerate(zip(arrays["sample_id"], arrays["label"], arrays["group"], strict=True)):
        entry = rows.pop(row, None)
        expected = (entry.id, entry.label, entry.group) if entry else ("", -1, "")
        if published != expected:
            faults[entry.id if entry else str(published[0])] = (
                f"row {row} is published as {published}, recorded as {expected}; run `repair`"
            )
    faults |= {entry.id: f"row {entry.row} is not published; run `repair`" for entry in rows.values()}
    return faults


def _file(report: Report, entry: Entry, state: str, reason: str) -> None:
    if state in ("", "vanished"):
        report.ok += 1
        if state:
            report.vanished.append(entry.id)
    else:
        getattr(report, state)[entry.id] = reason
