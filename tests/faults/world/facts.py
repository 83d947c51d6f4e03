"""The parts of a cache, a run or a table that must be equal after a fault and without one."""

import csv
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sample:
    """A committed sample; `values` is the digest of its array, or the error of reading it if not `readable`."""

    values: str
    label: int
    group: str
    readable: bool = True


def samples(root: Path) -> dict[str, Sample]:
    """The samples of the cache in `root` as a reader gets them; none if `root` is not a cache."""
    from cache import open_cache
    from cache.errors import CacheError, NotACache

    try:
        cache = open_cache(root)
    except NotACache:
        return {}
    by_id = {}
    for entry in cache.samples:
        try:
            values, readable = hashlib.sha256(cache.stored(entry.id).tobytes()).hexdigest(), True
        except CacheError as error:
            values, readable = str(error), False
        by_id[entry.id] = Sample(values, entry.label, entry.group, readable)
    return by_id


def cache_facts(root: Path) -> dict[str, Any]:
    """The samples, ledger (without row numbers), attributes, and anything invalid, unused or unfinished in a cache."""
    from cache import catalog, store
    from cache.verify import verify

    if not (root / "zarr.json").exists():
        return {}
    entries = catalog.read_entries(root)
    attributes = catalog.read_attributes(root)
    report = verify(root)
    rows = {entry.row for entry in entries.values() if entry.state == "complete"}
    unused = [row for row in catalog.row_folders(root, attributes.layout) if row not in rows]
    return {
        "samples": samples(root),
        "ledger": {entry.id: entry.to_json() | {"row": entry.row >= 0} for entry in entries.values()},
        "attributes": repr(attributes),
        "faults": report.damaged | report.missing | report.unreadable | report.stale,
        "chunks without a sample": [row for row in unused if store.chunk_path(root, row, attributes.layout).exists()],
        "unpublished": catalog.unpublished(root),
        "unfinished files": [path.name for path in root.glob("*/partial/*")],
    }


def run_facts(root: Path) -> dict[str, Any]:
    """The files in the folder of a run or a table, except for pictures, pages, logs and times."""
    facts: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.name.startswith("partial-"):
            facts[name] = "an unfinished file"
        elif path.suffix == ".json" and path.name != "manifest.json":  # its digests depend on dates and names
            facts[name] = path.read_text()
        elif path.suffix == ".csv" and path.name != "timings.csv":
            facts[name] = [{key: row[key] for key in row if key != "minutes"} for row in csv.DictReader(path.open())]
        elif path.suffix == ".keras":
            facts[name] = _weights(path)
    return facts


def _weights(path: Path) -> list[str]:
    """Digests of a model's arrays, without names, which depend on how many models the process has built before."""
    import h5py

    digests: list[str] = []
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
        weights.visititems(
            lambda _, item: (
                digests.append(hashlib.sha256(item[()].tobytes()).hexdigest())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return sorted(digests)


def facts_of(path: Path) -> Any:
    """The facts of a cache, of the folder of a run or table, or of a single file."""
    if path.suffix == ".zarr":
        return cache_facts(path)
    return run_facts(path) if path.is_dir() else path.read_text() if path.exists() else None


def differences(actual: Any, expected: Any, where: str = "") -> list[str]:
    """A line for each difference between two facts."""
    if actual == expected:
        return []
    if isinstance(actual, dict) and isinstance(expected, dict):
        keys = sorted({*actual, *expected}, key=str)
        return [
            text for key in keys for text in differences(actual.get(key), expected.get(key), f"{where} {key}".strip())
        ]
    return [f"{where}: {actual!r:.300} instead of {expected!r:.300}"]
