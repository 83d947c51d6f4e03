"""The `remove` job: the inputs to remove permanently, and a report that also names the places it does not touch."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import catalog
from cache.confined import open_regular
from cache.oserrors import reason, remedy
from cache.paths import cache_root
from cache.removal import inputs_named
from cache.schema import Entry
from cache.text import cut, listed, shown
from pipeline.errors import PipelineError

MAX_BYTES = 1 << 26  # for a file of ids


@dataclass(frozen=True)
class Removal:
    """The inputs to remove from the cache in `root`.

    `namesakes` are the ids of other inputs whose quarantine reason mentions one of them, because they share its name.
    """

    root: Path
    entries: Sequence[Entry]
    namesakes: Sequence[str]

    @property
    def ids(self) -> list[str]:
        """The ids of the inputs to remove."""
        return [entry.id for entry in self.entries]


def prepare(root: Path, ids: Sequence[str]) -> Removal:
    """Plan the removal of the inputs `ids` of the cache in `root`. Nothing is written.

    Raises UnknownSample where an id is not in the cache, CacheError where the cache cannot be read.
    """
    root = cache_root(root)
    all_entries = catalog.read_entries(root)
    entries = inputs_named(root, ids, all_entries)
    names = {shown(entry.id) for entry in entries}
    others = [entry for entry in all_entries.values() if entry.reason and entry.id not in ids]
    return Removal(root, entries, [entry.id for entry in others if any(name in entry.reason for name in names)])


def read_ids(path: Path) -> list[str]:
    """The ids in a file, one per line. Raises PipelineError where it cannot be read or has none."""
    try:
        with io.TextIOWrapper(open_regular(path, MAX_BYTES), encoding="utf-8-sig") as file:
            ids = [line.strip() for line in file if line.strip()]
    except OSError as error:
        advice = remedy(error, "check the path and its permissions")
        raise PipelineError(f"cannot read ids from {path}: {reason(error)}; {advice}") from error
    except UnicodeError as error:
        raise PipelineError(f"{path} is not text in UTF-8; expected one id per line") from error
    if not ids:
        raise PipelineError(f"{path} holds no id; expected one per line")
    return ids


def removal_json(job: Removal, done: bool) -> dict[str, Any]:
    """The result of `remove --json`; `done` is False for a dry run."""
    return {"removed": job.ids if done else [], "to_remove": [] if done else job.ids}


def removal_lines(job: Removal) -> Iterator[str]:
    """The result of `remove --dry-run`."""
    yield f"{_count(job)} to remove permanently; nothing is written"
    yield from (f"  {cut(entry.id)}: {entry.state}" for entry in job.entries)


def question(job: Removal) -> str:
    """The question that the user must confirm."""
    return f"Permanently remove {_count(job)} from {job.root}: {listed(job.ids)}?"


def removed_lines(job: Removal) -> Iterator[str]:
    """The result of a removal, with the places that it does not touch."""
    yield f"{_count(job)} removed from {job.root}: {listed(job.ids)}"
    if job.namesakes:
        yield f"Still mentioned by other inputs of the same name, remove them too: {listed(job.namesakes)}"
    if aside := _set_aside(job.root):
        yield f"{job.root / 'ledger/aside'} holds {aside} that blocked the cache's files: check and delete it"
    yield (
        "Not touched: caches of features (run `remove` on them, too), runs with their splits and predictions, label "
        "sheets, and sources"
    )
    if present := [entry.id for entry in job.entries if _has_source(entry)]:
        yield (
            f"The source of {listed(present)} still exists: move it out of SOURCE, or the next `preprocess` caches it "
            "again"
        )


def _count(job: Removal) -> str:
    return f"{len(job.entries)} input{'s' * (len(job.entries) != 1)}"


def _set_aside(root: Path) -> str:
    folder = root / "ledger/aside"
    count = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
    return f"{count} file{'s' * (count != 1)} or folder{'s' * (count != 1)}" if count else ""


def _has_source(entry: Entry) -> bool:
    try:
        return bool(entry.source.files) and all(path.exists() for path in entry.source.paths)
    except (OSError, ValueError):
        return False
