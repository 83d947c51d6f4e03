"""The labels part of reports: lines for people, plain data for programs. Pure."""

from collections.abc import Iterator
from shlex import quote
from typing import Any

from cache.schema import Attributes
from cache.text import MAX_NAMES, cut, listed
from pipeline.jobs.preprocess import PreprocessJob
from pipeline.jobs.relabel import RelabelJob
from pipeline.labels.apply import NO_SCAN, LabelReport
from pipeline.labels.classes import Relabelling
from pipeline.sources.format import is_labelled_by_csv


def labels_json(job: PreprocessJob | RelabelJob) -> dict[str, Any]:
    """How the labels CSV was read, and a change of class names with the number of samples before and after."""
    columns, change = job.labels.columns, job.relabelling
    return {
        "columns": columns
        and {
            "file": columns.name(columns.file),
            "label": columns.name(columns.label),
            "patient": columns.patient_name or None,
            "unused": columns.unused,
            "by_position": columns.by_position,
        },
        "class_names_changed": change
        and {"before": change.before, "after": change.after, "samples": dict(change.samples)},
    }


def label_lines(job: PreprocessJob | RelabelJob) -> Iterator[str]:
    """How the labels CSV was read, a change of class names, and rows that could not be used."""
    if job.labels.columns:
        yield columns_line(job.labels, job.attributes)
    if job.relabelling:
        yield relabelling_line(job.relabelling)
    unknown = [row for row in job.labels.wrong if row.problem == NO_SCAN]
    others = [f"Label rejected: {row}" for row in job.labels.wrong if row.problem != NO_SCAN]
    yield from others[:MAX_NAMES]
    if len(others) > MAX_NAMES:
        yield f"Label rejected: {len(others) - MAX_NAMES} more rows; --json lists all"
    if unknown:
        names = listed(f"{row.file} (line {row.where.rpartition(' ')[2]})" for row in unknown)
        rows = "1 row that names" if len(unknown) == 1 else f"{len(unknown)} rows that name"
        yield f"Label rejected: {rows} no scan: {names}"


def columns_line(report: LabelReport, attributes: Attributes) -> str:
    """Which columns of the labels CSV were used, and which were not."""
    columns = report.columns
    assert columns
    by_position = ", found by position, not by name" if columns.by_position else ""
    used = (
        f"Labels: column {cut(columns.name(columns.label))}; file names: {cut(columns.name(columns.file))}{by_position}"
    )
    count = f"{report.patients} patient{'s' * (report.patients != 1)}"
    if columns.patient is not None:
        patients = f"{cut(columns.patient_name)} ({count})"
    elif report.patients:
        before = f", column {cut(attributes.patient_column)}" if attributes.patient_column else ""
        patients = f"no column, {count} kept from earlier runs{before}"
    else:
        patients = "no column, each scan is its own group"
    unused = f"; not used: {listed(columns.unused)}" if columns.unused else ""
    return f"{used}; patients: {patients}{unused}"


def relabelling_line(change: Relabelling) -> str:
    """The change of class names, with the number of samples of each class before and after."""
    counts = listed(f"{name} {before} → {after}" for name, (before, after) in change.samples.items())
    old, new = (
        listed(f'"{name}"' if "," in name else name for name in names) for names in (change.before, change.after)
    )
    return (
        f"Class names changed from {old} to {new}: class numbers, also in a labels CSV, "
        f"now mean other classes. Samples, before → after: {counts}"
    )


def no_labels_line(job: PreprocessJob) -> Iterator[str]:
    """How to add labels from a CSV, if none was given."""
    if is_labelled_by_csv(job.recipe.kind) and job.labels.columns is None:
        root = quote(str(job.root))
        yield f"No labels: add them with `label {root} LABELS.csv`, or repeat the command with --labels LABELS.csv"
