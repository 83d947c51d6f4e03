"""Ids of inputs: unique within a SOURCE, and stable for samples that are already in a cache."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from cache.schema import Entry
from cache.text import shown
from pipeline.sources.records import Record
from pipeline.sources.walk import is_folder

MAX_NAMED = 5  # files that a message names


def with_unique_ids(
    records: Iterable[Record], is_incomplete: Callable[[Record], bool] = lambda record: False
) -> list[Record]:
    """`records` in the order of their ids, which are all different.

    Where several would get one id, each is rejected and gets its path as its id instead. An input that can become a
    sample keeps its id where all others are incomplete (half of a pair) or folders.
    """
    claims: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        claims[record.id].append(record)
    unique: list[Record] = []
    for rivals in claims.values():
        usable = rivals
        if len(rivals) > 1:
            usable = [rival for rival in rivals if not is_incomplete(rival) and not _is_folder(rival)]
        unique += [record if [record] == usable else _rejected(record, rivals) for record in rivals]
    return sorted(unique, key=lambda record: record.id)


def _is_folder(record: Record) -> bool:
    return len(record.source.files) == 1 and is_folder(record.source.paths[0])


def _rejected(record: Record, rivals: Sequence[Record]) -> Record:
    number = "two" if len(rivals) == 2 else str(len(rivals))
    names = ", ".join(shown(rival.source.files[0]) for rival in rivals[:MAX_NAMED])
    problem = f"{number} files would get the id {shown(record.id)} ({names}{', …' * (len(rivals) > MAX_NAMED)})"
    refusal = (problem, "one file for each id", "keep one of them, or rename one")
    path = path_id(record.source.root, record.source.files[0])
    return replace(_renamed(record, path), refusal=refusal, claimed=record.id)


def _renamed(record: Record, name: str) -> Record:
    """`record` under another id, which is also its group if it is its own group."""
    return replace(record, id=name, group=name if record.group == record.id else record.group)


def keep_ids(records: Sequence[Record], entries: Mapping[str, Entry]) -> list[Record]:
    """`records`, where a file that a sample in the ledger's `entries` was made from keeps the id of that sample.

    So only the second file that would get the same id is rejected.
    """
    return [
        _restored(record) if record.claimed and _is_source(record, entries.get(record.claimed)) else record
        for record in records
    ]


def _is_source(record: Record, entry: Entry | None) -> bool:
    """Whether the sample of `entry` was made from the files of `record`."""
    if entry is None or entry.state != "complete":
        return False
    return (entry.source.root, entry.source.files) == (record.source.root, record.source.files)


def _restored(record: Record) -> Record:
    return replace(_renamed(record, record.claimed), refusal=None, claimed="")


def path_id(root: str, file: str) -> str:
    """The ledger's id of a file without an id of its own: its full path, which no sample's id can be."""
    return f"{root}/{file}"
