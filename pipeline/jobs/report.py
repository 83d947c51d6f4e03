"""Reports of `preprocess`, `label`, `repair`, `verify` and `info`: lines for the terminal, data for `--json`. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cache.schema import UNLABELLED, Attributes, Entry
from cache.text import cut, listed, shown
from cache.verify import Report
from pipeline.errors import InvalidInput
from pipeline.jobs.estimate import Estimate
from pipeline.jobs.label_report import label_lines, labels_json, no_labels_line
from pipeline.jobs.preprocess import PreprocessJob
from pipeline.jobs.relabel import RelabelJob
from pipeline.jobs.repair import RepairJob, RepairResult
from pipeline.jobs.report_lines import (
    by_reason,
    count_line,
    exclusion_lines,
    finding_lines,
    reason_lines,
    visible_exclusions,
)
from pipeline.jobs.summary import Summary
from pipeline.sources.format import is_labelled_by_csv
from pipeline.sources.formats.video import NO_SCENE
from pipeline.sources.records import Inputs

MAX_RECIPE = 50  # parameters shown


def cache_json(summary: Summary, attributes: Attributes) -> dict[str, Any]:
    """The result of `info --json`."""
    return {
        "kind": attributes.kind,
        "shape": list(attributes.shape),
        "recipe": dict(attributes.recipe),
        "labels": summary.labels,
        "discovered": summary.discovered,
        "complete": summary.complete,
        "quarantined": len(summary.quarantined),
        "excluded": len(summary.excluded),
        "reasons": {"quarantined": summary.quarantined, "excluded": summary.excluded},
        "patients": {"column": attributes.patient_column or None, "count": summary.patients},
        "flags": summary.flags,
        "notes": summary.notes,
    }


def cache_lines(name: str, summary: Summary, attributes: Attributes, unpublished: bool) -> Iterator[str]:
    """The result of `info`; `unpublished` is True where a run is writing to the cache or was interrupted."""
    yield f"{name}: {attributes.kind}, {summary.complete} samples of {'×'.join(map(str, attributes.shape))}"
    yield from recipe_lines("recipe", attributes.recipe)
    for label, count in summary.labels.items():
        yield f"  {cut(label or 'unlabelled')}: {count}"
    if is_labelled_by_csv(attributes.kind):
        yield patients_line(summary, attributes)
    if unpublished:
        is_features = attributes.kind == "features"
        command = "`features` command or `write_features` call" if is_features else "`preprocess` command"
        yield f"A run is writing to it, or was interrupted: the same {command} resumes it."
    yield ledger_line(summary)
    yield from exclusion_lines(summary.excluded)
    yield from reason_lines("Quarantined", summary.quarantined)
    yield from finding_lines(summary.findings)


def patients_line(summary: Summary, attributes: Attributes) -> str:
    """How many patients the labels CSV named, and its column."""
    if not summary.patients:
        return "patients: unknown, each scan is its own group"
    column = f", from column {cut(attributes.patient_column)}" if attributes.patient_column else ""
    return f"patients: {summary.patients}{column}"


def recipe_lines(name: str, recipe: Mapping[str, Any]) -> Iterator[str]:
    """A recipe on one line, and each recipe inside it on another."""
    inner = {key: value for key, value in recipe.items() if isinstance(value, Mapping)}
    yield f"{name}: {listed((f'{key} {value}' for key, value in recipe.items() if key not in inner), MAX_RECIPE)}"
    for key, value in inner.items():
        yield from recipe_lines(key, value)


def run_json(summary: Summary, attributes: Attributes) -> dict[str, Any]:
    """The result of `preprocess --json`, without the part about labels."""
    return cache_json(summary, attributes) | {
        "made": summary.made,
        "vanished": summary.vanished,
        "unreadable": summary.unreadable,
        "wrong_labels": summary.wrong_labels,
        "unlabelled": summary.unlabelled,
    }


def run_lines(job: PreprocessJob, summary: Summary) -> Iterator[str]:
    """The result of `preprocess`."""
    yield f"{summary.made} made, {summary.kept} already present, in {job.root}"
    if relabelled := _samples(job.plan.commits):
        yield f"{_labels(relabelled)} updated"
    yield from count_line("kept although their source is gone", summary.vanished)
    yield from count_line("kept although their source cannot be read", _with_reasons(summary.unreadable))
    yield from count_line("without a row in the labels, cached without a label", summary.unlabelled)
    yield from scene_lines(job.inputs)
    yield ledger_line(summary)
    yield from label_lines(job)
    if summary.complete and summary.labels[None] == summary.complete:
        yield from no_labels_line(job)
    yield from exclusion_lines(visible_exclusions(summary.excluded))
    yield from reason_lines("Quarantined", summary.quarantined)
    yield from finding_lines(summary.findings)


def plan_json(job: PreprocessJob, workers: int, sample: Estimate | None) -> dict[str, Any]:
    """The result of `preprocess --dry-run --json`; `sample` is the measured cost of one sample."""
    count = len(job.plan.tasks)
    return {
        "to_make": count,
        "already_there": job.plan.kept,
        "excluded": len(job.inputs.excluded),
        "source_bytes": sum(max(task.record.source.size, 0) for task in job.plan.tasks),
        "workers": workers,
        "seconds": sample and round(count * sample.seconds / workers, 1),
        "cache_bytes": sample and count * sample.nbytes,
        "worker_memory_bytes": sample and sample.memory,
        "measured_on": sample and sample.id,
        "wrong_labels": list(map(str, job.labels.wrong)),
        "unlabelled": job.labels.unlabelled,
        "vanished": job.plan.vanished,
        "unreadable": job.plan.unreadable,
        "refused": _invalid(job),
    } | labels_json(job)


def plan_lines(job: PreprocessJob, workers: int, sample: Estimate | None) -> Iterator[str]:
    """The result of `preprocess --dry-run`; `sample` is the measured cost of one sample."""
    count = len(job.plan.tasks)
    yield f"{count} to make, {job.plan.kept} already present, {len(job.inputs.excluded)} excluded; nothing is written"
    if sample:
        yield (
            f"About {count * sample.seconds / workers:.0f} s with --workers {workers}, "
            f"{count * sample.nbytes / 1e9:.2f} GB of disk, {sample.memory / 1e6:.0f} MB of memory per worker "
            f"(measured by making {shown(sample.id)} without storing it)"
        )
    if relabelled := _samples(job.plan.commits):
        yield f"{_labels(relabelled)} to update"
    yield from count_line("to keep although their source is gone", job.plan.vanished)
    yield from count_line("to keep although their source cannot be read", _with_reasons(job.plan.unreadable))
    yield from count_line("without a row in the labels, to be cached without a label", job.labels.unlabelled)
    yield from scene_lines(job.inputs)
    yield from label_lines(job)
    if not job.labels.labelled and all(entry.label == UNLABELLED for entry in job.entries.values()):
        yield from no_labels_line(job)
    yield from exclusion_lines(visible_exclusions(job.inputs.excluded))
    yield from reason_lines("To be quarantined, as their paths show", _invalid(job))


def _invalid(job: PreprocessJob) -> dict[str, str]:
    """Inputs that are invalid before any is opened: path → reason."""
    records = [record for record in job.inputs.records if record.id not in job.plan.vanished]
    return {record.source.files[0]: str(InvalidInput(*record.refusal)) for record in records if record.refusal}


def _labels(count: int) -> str:
    return f"{count} label{'s' * (count != 1)}"


def _samples(entries: Iterable[Entry]) -> int:
    return sum(entry.state == "complete" for entry in entries)


def _count(number: int) -> str:
    return f"{number} sample{'s' * (number != 1)}"


def relabel_json(job: RelabelJob, summary: Summary) -> dict[str, Any]:
    """The result of `label --json`."""
    return run_json(summary, job.attributes) | {"made": 0, "relabelled": _samples(job.changed)} | labels_json(job)


def relabel_lines(job: RelabelJob, summary: Summary) -> Iterator[str]:
    """The result of `label`."""
    yield f"labels or patients of {_count(_samples(job.changed))} updated in {job.root}"
    yield from (f"  {cut(label or 'unlabelled')}: {count}" for label, count in summary.labels.items())
    yield from count_line("without a row in the labels, left without a label", summary.unlabelled)
    yield from label_lines(job)


def verify_json(report: Report) -> dict[str, Any]:
    """The result of `verify --json`."""
    faults = {"damaged": report.damaged, "missing": report.missing, "stale": report.stale}
    return {"ok": report.ok, **faults, "unreadable": report.unreadable, "vanished": report.vanished}


def verify_lines(report: Report) -> Iterator[str]:
    """The result of `verify`."""
    for title, faults in (("Damaged", report.damaged), ("Missing", report.missing), ("Stale", report.stale)):
        yield from reason_lines(title, faults)
    yield from reason_lines("Unreadable, possibly intact", report.unreadable)
    if report.vanished:
        yield f"{_count(len(report.vanished))} intact but without a source any more: usable, but not repairable."
    counts = f"{len(report.damaged)} damaged, {len(report.missing)} missing, {len(report.stale)} stale"
    yield f"{report.ok} intact, {counts}{f', {len(report.unreadable)} unreadable' * bool(report.unreadable)}"


def repair_json(result: RepairResult) -> dict[str, Any]:
    """The result of `repair --json`."""
    return {"healed": result.repaired, "failed": result.failed}


def repair_lines(result: RepairResult) -> Iterator[str]:
    """The result of `repair`."""
    yield from reason_lines("Not repaired", result.failed)
    yield f"{len(result.repaired)} repaired, {len(result.failed)} not repaired"


def repair_plan_json(job: RepairJob) -> dict[str, Any]:
    """The result of `repair --dry-run --json`."""
    ids = [task.record.id for task in job.tasks]
    return {"to_make": ids, "to_restore": job.result.repaired, "failed": job.result.failed}


def repair_plan_lines(job: RepairJob) -> Iterator[str]:
    """The result of `repair --dry-run`."""
    yield from reason_lines("Cannot be repaired", job.result.failed)
    yield from count_line("to make again from their sources", [task.record.id for task in job.tasks])
    yield from count_line("to restore from other parts of the cache", job.result.repaired)
    counts = f"{len(job.tasks)} to make again, {len(job.result.repaired)} to restore"
    yield f"{counts}, {len(job.result.failed)} cannot be repaired; nothing is written"


def ledger_line(summary: Summary) -> str:
    """The sum of the ledger: every input is complete, quarantined or excluded."""
    flagged = f"; {len(summary.flags)} of the complete flagged" if summary.flags else ""
    return (
        f"{summary.discovered} discovered = {summary.complete} complete + {len(summary.quarantined)} quarantined"
        f" + {len(summary.excluded)} excluded{flagged}"
    )


def nothing_found(inputs: Inputs) -> str:
    """The contents of a SOURCE without inputs, to end an error message; empty where SOURCE is empty."""
    contents = list(by_reason(visible_exclusions(inputs.excluded)))
    contents += [f"{number} × {ending or 'no file ending'}" for ending, number in inputs.others.most_common(3)]
    return f"; found instead: {' · '.join(contents)}" if contents else ""


def scene_lines(inputs: Inputs) -> Iterator[str]:
    """A warning where the names of clips do not show their scenes, so that a split cannot keep scenes together."""
    if count := sum(record.note == NO_SCENE for record in inputs.records):
        yield (
            f"{count} of {len(inputs.records)} clips have no _gNN_cMM in their names: each is its own group, so a "
            "split cannot keep clips of one scene together"
        )


def _with_reasons(names: Mapping[str, str]) -> list[str]:
    return [f"{name} ({why})" for name, why in names.items()]
