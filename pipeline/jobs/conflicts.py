"""Inputs that conflict with the samples in a cache: each check raises PipelineError and names a remedy."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cache.schema import Entry
from cache.text import cut, shown
from pipeline.errors import PipelineError
from pipeline.sources.records import Record
from pipeline.sources.walk import is_folder


def check_nesting(source: Path, sources: Sequence[str]) -> None:
    """Raise where SOURCE contains a SOURCE of an earlier run or lies in one: its files would be cached twice."""
    for old in map(Path, sources):
        if source != old and is_folder(old) and (source.is_relative_to(old) or old.is_relative_to(source)):
            raise PipelineError(
                f"SOURCE {source} overlaps with {old}, from which this cache was made: files would be cached "
                "twice; give the same SOURCE as before, or another CACHE"
            )


def check_ids(records: Sequence[Record], entries: Mapping[str, Entry]) -> None:
    """Raise where an input from another SOURCE already has the id of one of `records`.

    A moved file is accepted: the other one no longer exists, and its sample was made from a file of the same size.
    """
    for record in records:
        entry = entries.get(record.id)
        if entry is None or not entry.source.files or entry.source.root == record.source.root or record.unreadable:
            continue
        if entry.state == "complete" and entry.source.size != record.source.size:
            raise different_source(record, entry)
        if all(path.exists() for path in entry.source.paths):
            raise PipelineError(
                f"{cut(record.source.paths[0])} and {cut(entry.file)} would both get the id {shown(record.id)}; "
                "rename one, or use another CACHE"
            )


def different_source(record: Record, entry: Entry) -> PipelineError:
    """The error for a file that would replace the sample of a different file of the same name."""
    return PipelineError(
        f"{cut(record.source.paths[0])} would replace the sample {shown(record.id)}, made from {cut(entry.file)}, "
        "whose contents differ; restore that one, rename the new one, or use another CACHE"
    )


def check_exclusions(root: str, excluded: Mapping[str, str], entries: Mapping[str, Entry]) -> None:
    """Raise where a file that would now be excluded already has a sample."""
    for entry in entries.values():
        file = next(iter(entry.source.files), "")
        if entry.state == "complete" and entry.source.root == root and file in excluded:
            raise PipelineError(
                f"{cut(file)} is in the cache, but now it would be excluded ({excluded[file]}); "
                "give the same options as before, or another CACHE"
            )
