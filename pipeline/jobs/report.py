"""What a run, a plan or a cache tells: lines for people, plain data for programs. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cache.schema import UNLABELLED, Attributes, Entry
from cache.text import MAX_NAMES, MAX_REASON, cut, listed, shown
from cache.verify import Report
from pipeline.checks.findings import SAME_ARRAY, TWO_LABELS, Findings
from pipeline.errors import InvalidInput
from pipeline.jobs.estimate import Estimate
from pipeline.jobs.preprocess import PreprocessJob
from pipeline.jobs.relabel import RelabelJob
from pipeline.jobs.repair import RepairJob, RepairResult
from pipeline.jobs.summary import Summary
from pipeline.labels.report import label_lines, labels_json, no_labels_line
from pipeline.sources.format import is_labelled_by_csv
from pipeline.sources.formats.video import NO_SCENE
from pipeline.sources.records import Inputs

MAX_RECIPE = 50  # parameters that are shown
FIGURE = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def cache_json(summary: Summary, attributes: Attributes) -> dict[str, Any]:
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
    yield f"{name}: {attributes.kind}, {summary.complete} samples of {'×'.join(map(str, attributes.shape))}"
    yield from recipe_lines("recipe", attributes.recipe)
    for label, count in summary.labels.items():
        yield f"  {cut(label or 'unlabelled')}: {count}"
    if is_labelled_by_csv(attributes.kind):
        yield patients_line(summary, attributes)
    if unpublished:
        how = "`features` command or `write_features` call" if attributes.kind == "features" else "`preprocess` command"
        yield f"A run is writing to it, or was interrupted: the same {how} resumes it."
    yield ledger_line(summary)
    yield from exclusion_lines(summary.excluded)
    yield from reason_lines("Quarantined", summary.quarantined)
    yield from finding_lines(summary.findings)


def patients_line(summary: Summary, attributes: Attributes) -> str:
    if not summary.patients:
        return "patients: not known, each scan is a group of its own"
    column = f", from column {cut(attributes.patient_column)}" if attributes.patient_column else ""
    return f"patients: {summary.patients}{column}"


def recipe_lines(name: str, recipe: Mapping[str, Any]) -> Iterator[str]:
    """A recipe on one line, and on lines of their own those inside it."""
    inner = {key: value for key, value in recipe.items() if isinstance(value, Mapping)}
    yield f"{name}: {listed((f'{key} {value}' for key, value in recipe.items() if key not in inner), MAX_RECIPE)}"
    for key, value in inner.items():
        yield from recipe_lines(key, value)


def run_json(summary: Summary, attributes: Attributes) -> dict[str, Any]:
    return cache_json(summary, attributes) | {
        "made": summary.made,
        "vanished": summary.vanished,
        "unreadable": summary.unreadable,
        "wrong_labels": summary.wrong_labels,
        "unlabelled": summary.unlabelled,
    }


def run_lines(job: PreprocessJob, summary: Summary) -> Iterator[str]:
    yield f"{summary.made} made, {summary.kept} already there, in {job.root}"
    if relabelled := _samples(job.plan.commits):
        yield f"{_labels(relabelled)} updated"
    yield from _some("kept though their source is gone", summary.vanished)
    yield from _some("kept though their source cannot be read", _with_reasons(summary.unreadable))
    yield from _some("without a row in the labels, cached without a label", summary.unlabelled)
    yield from scene_lines(job.inputs)
    yield ledger_line(summary)
    yield from label_lines(job)
    if summary.complete and summary.labels[None] == summary.complete:
        yield from no_labels_line(job)
    yield from exclusion_lines(shown_exclusions(summary.excluded))
    yield from reason_lines("Quarantined", summary.quarantined)
    yield from finding_lines(summary.findings)


def plan_json(job: PreprocessJob, workers: int, sample: Estimate | None) -> dict[str, Any]:
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
        "refused": _refused(job),
    } | labels_json(job)


def plan_lines(job: PreprocessJob, workers: int, sample: Estimate | None) -> Iterator[str]:
    count = len(job.plan.tasks)
    yield f"{count} to make, {job.plan.kept} already there, {len(job.inputs.excluded)} excluded; nothing is written"
    if sample:
        yield (
            f"About {count * sample.seconds / workers:.0f} s with --workers {workers}, "
            f"{count * sample.nbytes / 1e9:.2f} GB of disk, {sample.memory / 1e6:.0f} MB of memory a worker "
            f"(measured by making {shown(sample.id)} without storing it)"
        )
    if relabelled := _samples(job.plan.commits):
        yield f"{_labels(relabelled)} to update"
    yield from _some("to keep though their source is gone", job.plan.vanished)
    yield from _some("to keep though their source cannot be read", _with_reasons(job.plan.unreadable))
    yield from _some("without a row in the labels, to be cached without a label", job.labels.unlabelled)
    yield from scene_lines(job.inputs)
    yield from label_lines(job)
    if not job.labels.labelled and all(entry.label == UNLABELLED for entry in job.entries.values()):
        yield from no_labels_line(job)
    yield from exclusion_lines(shown_exclusions(job.inputs.excluded))
    yield from reason_lines("To be quarantined, by their names alone", _refused(job))


def _refused(job: PreprocessJob) -> dict[str, str]:
    """The inputs that are known to be refused before any is opened: path → reason."""
    records = [item for item in job.inputs.records if item.id not in job.plan.vanished]
    return {item.source.files[0]: str(InvalidInput(*item.refusal)) for item in records if item.refusal}


def _labels(count: int) -> str:
    return f"{count} label{'s' * (count != 1)}"


def _samples(entries: Iterable[Entry]) -> int:
    return sum(entry.state == "complete" for entry in entries)


def relabel_json(job: RelabelJob, summary: Summary) -> dict[str, Any]:
    return run_json(summary, job.attributes) | {"made": 0, "relabelled": _samples(job.changed)} | labels_json(job)


def relabel_lines(job: RelabelJob, summary: Summary) -> Iterator[str]:
    yield f"{_samples(job.changed)} labels or patients updated in {job.root}"
    yield from (f"  {cut(label or 'unlabelled')}: {count}" for label, count in summary.labels.items())
    yield from _some("without a row in the labels, left without a label", summary.unlabelled)
    yield from label_lines(job)


def verify_json(report: Report) -> dict[str, Any]:
    faults = {"damaged": report.damaged, "missing": report.missing, "stale": report.stale}
    return {"ok": report.ok, **faults, "unreadable": report.unreadable, "vanished": report.vanished}


def verify_lines(report: Report) -> Iterator[str]:
    for title, faults in (("Damaged", report.damaged), ("Missing", report.missing), ("Stale", report.stale)):
        yield from reason_lines(title, faults)
    yield from reason_lines("Unreadable, perhaps sound", report.unreadable)
    if report.vanished:
        yield f"{len(report.vanished)} sound samples whose source is gone: they can be used, not repaired."
    counts = f"{len(report.damaged)} damaged, {len(report.missing)} missing, {len(report.stale)} stale"
    yield f"{report.ok} sound, {counts}{f', {len(report.unreadable)} unreadable' * bool(report.unreadable)}"


def repair_json(result: RepairResult) -> dict[str, Any]:
    return {"healed": result.repaired, "failed": result.failed}


def repair_lines(result: RepairResult) -> Iterator[str]:
    yield from reason_lines("Not repaired", result.failed)
    yield f"{len(result.repaired)} repaired, {len(result.failed)} not repaired"


def repair_plan_json(job: RepairJob) -> dict[str, Any]:
    ids = [task.record.id for task in job.tasks]
    return {"to_make": ids, "to_restore": job.result.repaired, "failed": job.result.failed}


def repair_plan_lines(job: RepairJob) -> Iterator[str]:
    """The result of `repair --dry-run`."""
    yield from reason_lines("Cannot be repaired", job.result.failed)
    yield from _some("to make again from their sources", [task.record.id for task in job.tasks])
    yield from _some("to restore from other parts of the cache", job.result.repaired)
    counts = f"{len(job.tasks)} to make again, {len(job.result.repaired)} to restore"
    yield f"{counts}, {len(job.result.failed)} cannot be repaired; nothing is written"


def ledger_line(summary: Summary) -> str:
    flagged = f"; {len(summary.flags)} of the complete flagged" if summary.flags else ""
    return (
        f"{summary.discovered} discovered = {summary.complete} complete + {len(summary.quarantined)} quarantined"
        f" + {len(summary.excluded)} excluded{flagged}"
    )


def finding_lines(findings: Findings) -> Iterator[str]:
    """Flags and notes; those that differ in figures only are told once, with the first ids."""
    pairs = [f"{one} = {other}" for one, other in findings.two_labels]
    yield from _grouped("Flagged (cached all the same; check their sources)", findings.flags, told_apart=TWO_LABELS)
    what = "pair of samples holds" if len(pairs) == 1 else "pairs of samples hold"
    yield from _some(f"{what} the same array under two labels, correct the labels", pairs)
    yield from _some("samples hold the same array as another; a split keeps them together", findings.duplicates)
    yield from _grouped("Noted", findings.notes, told_apart=SAME_ARRAY)


def _grouped(title: str, texts: Mapping[str, list[str]], told_apart: str) -> Iterator[str]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, found in texts.items():
        for text in found:
            if not text.startswith(told_apart):
                groups.setdefault(FIGURE.sub("#", text), []).append((name, text))
    if groups:
        yield f"{title}:"
    for group in groups.values():
        names, first = [name for name, _ in group], group[0][1]
        differing = ", figures of the first" if any(text != first for _, text in group) else ""
        yield f"  {cut(first, MAX_REASON)}"
        yield from _some(f"sample{'s' if len(names) > 1 else ''}{differing}", names, 4)


def reason_lines(title: str, reasons: Mapping[str, str]) -> Iterator[str]:
    if reasons:
        yield f"{title}:"
        yield from (f"  {cut(name)}: {cut(reason, MAX_REASON)}" for name, reason in sorted(reasons.items()))


def shown_exclusions(excluded: Mapping[str, str]) -> dict[str, str]:
    """Of what was left out, all that the user may have meant: not hidden and system files."""
    return {name: reason for name, reason in excluded.items() if not reason.startswith("hidden or system")}


def exclusion_lines(excluded: Mapping[str, str]) -> Iterator[str]:
    """What was left out, a line each where that is not many, else a line a reason."""
    if len(excluded) <= MAX_NAMES:
        yield from reason_lines("Excluded", excluded)
        return
    yield "Excluded:"
    yield from (f"  {line}" for line in _by_reason(excluded))


def _by_reason(excluded: Mapping[str, str]) -> Iterator[str]:
    """A line for each reason: how many there are, and the first names. Numbers and classes make no difference."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name, reason in sorted(excluded.items()):
        general = re.sub(r"^class .* was not chosen$", "class was not chosen", reason)
        alike[re.sub(r"\b\d+\b", "…", general)].append(name)
    for reason, names in sorted(alike.items()):
        yield (
            f"{len(names)} × {cut(reason)}: {listed(names)}"
            if len(names) > 1
            else f"{cut(names[0])}: {cut(excluded[names[0]])}"
        )


def nothing_found(inputs: Inputs) -> str:
    """What a SOURCE without inputs holds instead; empty where that is nothing."""
    found = list(_by_reason(shown_exclusions(inputs.excluded)))
    found += [f"{number} × {ending or 'a name without ending'}" for ending, number in inputs.others.most_common(3)]
    return f"; found instead: {' · '.join(found)}" if found else ""


def scene_lines(inputs: Inputs) -> Iterator[str]:
    """That a split cannot keep scenes together, where clips do not say theirs."""
    if count := sum(record.note == NO_SCENE for record in inputs.records):
        yield (
            f"{count} of {len(inputs.records)} clips have no _gNN_cMM in their names: each is a group of its own, so a "
            "split cannot keep clips of one scene together"
        )


def _with_reasons(names: Mapping[str, str]) -> list[str]:
    return [f"{name} ({why})" for name, why in names.items()]


def _some(what: str, names: list[str], indent: int = 0) -> Iterator[str]:
    if names:
        yield f"{' ' * indent}{len(names)} {what}: {listed(names)}"
