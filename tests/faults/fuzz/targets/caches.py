"""The ledger and the attributes of a cache."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.fuzz.target import Target
from tests.faults.fuzz.value_changes import change_attributes, change_ledger
from tests.faults.rot.folders import make_cache


def ledger(folder: Path) -> Target:
    root = _small_cache(folder)
    corpus = [(root / "ledger" / name).read_bytes() for name in ("entries.jsonl", "snapshot.jsonl")]

    def read(path: Path) -> Any:
        for name in ("entries.jsonl", "snapshot.jsonl"):
            shutil.copyfile(path, root / "ledger" / name)
            read_cache(root)

    return Target(corpus, ".jsonl", change_ledger, read)


def attributes(folder: Path) -> Target:
    root = _small_cache(folder)

    def read(path: Path) -> Any:
        for name in ("zarr.json", "ledger/zarr.json"):
            shutil.copyfile(path, root / name)
        read_cache(root)

    return Target([(root / "zarr.json").read_bytes()], ".json", change_attributes, read)


def _small_cache(folder: Path) -> Path:
    folder.mkdir()
    return make_cache(folder)


def read_cache(root: Path) -> None:
    """Read a cache as training, `verify`, `info` and `repair` do, each even if an earlier one has refused it."""
    from cache import catalog, open_cache
    from cache.errors import CacheError
    from cache.verify import verify
    from pipeline.jobs import repair, report
    from pipeline.jobs.summary import summarise

    with suppress(CacheError):
        cache = open_cache(root)
        for number in range(len(cache)):
            with suppress(CacheError):
                cache[number]
        cache.inputs()
    with suppress(CacheError):
        list(report.verify_lines(verify(root)))
    known = catalog.read_attributes(root)
    summary = summarise(known, catalog.read_entries(root))
    json.dumps(report.cache_json(summary, known))
    list(report.cache_lines("cache", summary, known, False))
    if known.kind != "features":
        repair.prepare(root)
