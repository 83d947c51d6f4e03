"""The labels of a run: from the class folders, a labels CSV, or the cache, by class name."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace

from cache.resume import carry_labels
from cache.schema import Entry
from cache.text import listed
from pipeline.errors import PipelineError
from pipeline.labels.apply import LabelReport
from pipeline.sources.records import Record

Labeller = Callable[..., tuple[list[Record], LabelReport]]


def keep_classes(
    entries: Mapping[str, Entry],
    relabelled_ids: Container[str],
    old_names: Sequence[str],
    names: tuple[str, ...],
    may_add: bool,
) -> tuple[tuple[str, ...], dict[str, Entry]]:
    """New class names, and the entries that change because every sample keeps its class by name.

    Samples in `relabelled_ids` get new labels and are left out. Classes that are still in use are added to `names`
    where `may_add`. Raises PipelineError where they are missing otherwise.
    """
    extended, moved = carry_labels(entries, relabelled_ids, old_names, names)
    if (missing := extended[len(names) :]) and not may_add:
        raise PipelineError(
            f"the cache has samples of class {listed(missing)}, which is not among {listed(names)}; "
            "name these classes too, or give the labels again with --labels"
        )
    return extended, moved


def label_all(
    records: Sequence[Record], entries: Mapping[str, Entry], labeller: Labeller
) -> tuple[list[Record], dict[str, Entry], LabelReport]:
    """Label `records` and the other samples in the cache with one labels CSV, read by `labeller`.

    Returns the labelled records, the entries of other samples that change, and the labeller's report. Groups in the
    ledger's `entries` are known to the labeller.
    """
    ids = {record.id for record in records}
    grouped = [
        replace(record, group=entries[record.id].group) if record.id in entries else record for record in records
    ]
    other_entries = [entry for entry in entries.values() if entry.state == "complete" and entry.id not in ids]
    others = [Record(entry.id, entry.source, entry.label, entry.group) for entry in other_entries]
    labelled, report = labeller(grouped, others=others)
    pairs = zip(other_entries, labelled[len(records) :], strict=True)
    changed = {entry.id: replace(entry, label=record.label, group=record.group) for entry, record in pairs}
    changed = {name: entry for name, entry in changed.items() if entry != entries[name]}
    return labelled[: len(records)], changed, report
