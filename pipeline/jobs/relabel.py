"""The `label` job: give the scans of a cache new labels and patients; it needs neither recipe nor source files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache import catalog
from cache.paths import cache_root
from cache.schema import Attributes, Entry, composed
from cache.writer import open_writer
from pipeline.errors import PipelineError
from pipeline.jobs.summary import Summary, summarise
from pipeline.labels.apply import LabelReport, apply_labels, check_keeps_labels
from pipeline.labels.classes import Relabelling, relabelling
from pipeline.labels.columns import ColumnChoice
from pipeline.sources.format import format_of, is_labelled_by_csv, kinds
from pipeline.sources.records import Record

FEATURES = "features, whose labels are those of their volumes; label that cache and run `features` again"


@dataclass(frozen=True)
class RelabelJob:
    """The new `attributes` of a cache, and the new entries of the samples that a labels CSV changes."""

    root: Path
    attributes: Attributes
    entries: Mapping[str, Entry]
    changed: list[Entry]
    labels: LabelReport
    relabelling: Relabelling | None


def prepare(
    root: Path, path: Path, class_names: Sequence[str] | None = None, columns: ColumnChoice | None = None
) -> RelabelJob:
    """Plan the changes by the labels CSV in `path` to the CT cache in `root`. Nothing is written.

    The CSV is read as by `preprocess`. `class_names` None means those of the cache. Raises PipelineError where the CSV
    cannot be read or the cache has another kind, CacheError where the cache cannot be read.
    """
    root = cache_root(root)
    old = catalog.read_attributes(root)
    _check_kind(root, old.kind)
    entries = catalog.read_entries(root)
    inputs = [entry for entry in entries.values() if entry.state != "excluded"]
    records = [Record(entry.id, entry.source, entry.label, entry.group) for entry in inputs]
    names = tuple(map(composed, class_names or old.class_names))
    records, report = apply_labels(records, path, names, columns, by_position=class_names is not None)
    check_keeps_labels(report, path, inputs)
    pairs = zip(inputs, records, strict=True)
    relabelled = [entry.replace(label=record.label, group=record.group) for entry, record in pairs]
    changed = [entry for entry in relabelled if entry != entries[entry.id]]
    change = relabelling(inputs, {record.id: record.label for record in records}, old.class_names, names)
    attributes = old.replace(class_names=names, patient_column=report.patient_column or old.patient_column)
    return RelabelJob(root, attributes, entries, changed, report, change)


def _check_kind(root: Path, kind: str) -> None:
    """Raise PipelineError for a cache whose labels do not come from a CSV."""
    if is_labelled_by_csv(kind):
        return
    inputs = FEATURES
    if kind in kinds():
        noun = format_of(kind).noun
        inputs = f"{noun}s, whose labels are their class folders; order the classes with `preprocess {kind} --classes`"
    raise PipelineError(f"{root} is a cache of {inputs}")


def run(job: RelabelJob, linked: str = "") -> Summary:
    """Commit and publish the new labels and groups. Raises CacheError where the cache cannot be written."""
    with open_writer(job.root, job.attributes, job.entries, linked) as writer:
        writer.commit(job.changed)
        summary = summarise(job.attributes, writer.entries)
    return replace(summary, wrong_labels=list(map(str, job.labels.wrong)), unlabelled=job.labels.unlabelled)
