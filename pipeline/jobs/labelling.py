"""The labels of a run: from the class folders, a labels CSV, or the cache, by class name."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cache.resume import carry_labels
from cache.schema import Entry, composed
from cache.text import listed
from pipeline.errors import PipelineError
from pipeline.labels.apply import LabelReport, apply_labels, check_keeps_labels
from pipeline.labels.classes import Relabelling, relabelling
from pipeline.labels.columns import ColumnChoice
from pipeline.sources.records import Inputs, Record

Labeller = Callable[..., tuple[list[Record], LabelReport]]


@dataclass(frozen=True)
class LabelSource:
    """The user's options about labels: a CSV in `path`, its `columns`, and `class_names` other than the default."""

    path: Path | None = None
    columns: ColumnChoice | None = None
    class_names: Sequence[str] | None = None


@dataclass
class Labelling:
    """The labels after a run.

    `records` are the inputs with their labels, `changed` the entries of other samples that change, by id. `change` is
    the change in the meaning of class numbers, if there is one. `relabels` is False where samples keep their labels
    because the run has none.
    """

    class_names: tuple[str, ...]
    records: list[Record]
    changed: dict[str, Entry]
    report: LabelReport = field(default_factory=LabelReport)
    change: Relabelling | None = None
    relabels: bool = False


def label_inputs(
    inputs: Inputs,
    entries: Mapping[str, Entry],
    source: LabelSource,
    old_names: Sequence[str],
    default_names: Sequence[str],
) -> Labelling:
    """Label `inputs`, and the other samples in the ledger's `entries` that the labels CSV names.

    Class names are, in this order: those of the class folders, of the user, of the cache (`old_names`), the default.
    Raises PipelineError where the CSV cannot be used, would remove all labels, or where a class in use is missing.
    """
    names = tuple(map(composed, inputs.class_names or source.class_names or old_names or default_names))
    relabels = source.path is not None or bool(inputs.class_names)
    relabelled_ids = {record.id for record in inputs.records} if relabels else set()
    names, changed = keep_classes(entries, relabelled_ids, old_names, names, may_add=relabels)
    result = Labelling(names, inputs.records, changed, relabels=relabels)
    if source.path and (inputs.records or entries):
        by_position = source.class_names is not None
        labeller = partial(
            apply_labels, path=source.path, class_names=names, choice=source.columns, by_position=by_position
        )
        result.records, changed_by_csv, result.report = label_all(inputs.records, dict(entries) | changed, labeller)
        result.changed |= changed_by_csv
        relabelled = (entry for entry in entries.values() if entry.id in relabelled_ids)
        check_keeps_labels(result.report, source.path, relabelled)
    new_labels = {entry_id: entry.label for entry_id, entry in result.changed.items()}
    new_labels |= {record.id: record.label for record in result.records if record.id in relabelled_ids}
    result.change = relabelling(entries.values(), new_labels, old_names, names)
    return result


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
    changed = {entry.id: entry.replace(label=record.label, group=record.group) for entry, record in pairs}
    changed = {name: entry for name, entry in changed.items() if entry != entries[name]}
    return labelled[: len(records)], changed, report
