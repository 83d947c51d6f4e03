"""The `preprocess` job: look at the source, plan, run the plan, commit each sample, account for every input.

`prepare` decides and writes nothing; `run` does what was decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cache
from cache import store
from cache.fingerprint import digest_recipe
from cache.paths import absolute, cache_root
from cache.progress import Callback
from cache.resume import existing
from cache.schema import MAX_SOURCES, Attributes, Entry, composed
from cache.text import cut
from pipeline.errors import PipelineError
from pipeline.jobs.commit import make_samples
from pipeline.jobs.conflicts import check_exclusions, check_ids, check_nesting
from pipeline.jobs.labelling import keep_classes, label_all
from pipeline.jobs.plan import Plan, make_plan
from pipeline.jobs.progress import Progress
from pipeline.jobs.summary import Summary, summarise
from pipeline.labels.apply import LabelReport, apply_labels, refuse_wiping
from pipeline.labels.classes import Relabelling, relabelling
from pipeline.labels.columns import ColumnChoice
from pipeline.recipes.base import Recipe
from pipeline.sources.format import format_of
from pipeline.sources.ids import keep_ids
from pipeline.sources.records import Inputs
from pipeline.workers.executor import ExecutorContext


@dataclass(frozen=True)
class PreprocessJob:
    """Everything that is decided before any work: which samples to make, from which files, into which cache.

    `entries` is the ledger as it is now; `relabelling` is the change of what class numbers mean, if there is one.
    """

    source: Path
    root: Path
    recipe: Recipe
    attributes: Attributes
    inputs: Inputs
    labels: LabelReport
    entries: Mapping[str, Entry]
    plan: Plan
    relabelling: Relabelling | None = None


def prepare(
    source: Path,
    root: Path,
    recipe: Recipe,
    class_names: Sequence[str] | None = None,
    labels: Path | None = None,
    columns: ColumnChoice | None = None,
) -> PreprocessJob:
    """Look at SOURCE and CACHE and decide what to do. Nothing is written.

    `class_names` None means the class folders of clips; for CT, the classes of the cache, or the five types. `labels`
    is a CSV, `columns` those of its columns that the user chose. Raises PipelineError or CacheError where a run cannot
    start: no such folder, two inputs with one id, unreadable labels, or a CACHE that is something else or has another
    recipe.
    """
    source, root = absolute(source).resolve(), cache_root(root)
    old = existing(root, recipe.to_json())
    old_sources, old_names, old_column = (old.sources, old.class_names, old.patient_column) if old else ((), (), "")
    check_nesting(source, old_sources)
    source_format = format_of(recipe.kind)
    inputs = source_format.find(source, root, class_names, old_names)
    names = tuple(map(composed, inputs.class_names or class_names or old_names or source_format.class_names))
    loaded = store.load(root)
    entries = loaded.entries
    inputs.records = keep_ids(inputs.records, entries)
    relabel = labels is not None or bool(inputs.class_names)
    relabelled_ids = {record.id for record in inputs.records} if relabel else set()
    names, changed = keep_classes(entries, relabelled_ids, old_names, names, may_add=relabel)
    report = LabelReport()
    if labels and (inputs.records or entries):
        labeller = partial(
            apply_labels, path=labels, class_names=names, choice=columns, by_position=class_names is not None
        )
        inputs.records, changed_by_csv, report = label_all(inputs.records, dict(entries) | changed, labeller)
        changed |= changed_by_csv
        refuse_wiping(report, labels, (entry for entry in entries.values() if entry.id in relabelled_ids))
    sources = tuple(dict.fromkeys((*old_sources, str(source))))[-MAX_SOURCES:]
    column = report.patient_column or old_column
    try:
        attributes = Attributes(recipe.kind, recipe.to_json(), names, sources, patient_column=column)
    except ValueError as error:
        raise PipelineError(f"no cache can be made of {source}: {error}") from error
    check_ids(inputs.records, entries)
    check_exclusions(str(source), inputs.excluded, entries)
    plan = make_plan(
        inputs.records,
        inputs.excluded,
        dict(entries) | changed,
        root=str(source),
        recipe=digest_recipe(attributes.recipe),
        software=cache.__version__,
        rows_present=store.rows_present(root),
        kept=store.kept_rows(root, loaded, attributes.layout),
        relabel=relabel,
    )
    planned = {entry.id for entry in plan.commits} | set(plan.forget)
    plan.commits += [entry for entry in changed.values() if entry.id not in planned]
    new_labels = {entry_id: entry.label for entry_id, entry in changed.items()}
    new_labels |= {record.id: record.label for record in inputs.records if record.id in relabelled_ids}
    change = relabelling(entries.values(), new_labels, old_names, names)
    return PreprocessJob(source, root, recipe, attributes, inputs, report, entries, plan, change)


def run(
    job: PreprocessJob,
    executor: ExecutorContext,
    callback: Callback | None = None,
    stop_on_error: bool = False,
    linked: str = "",
) -> Summary:
    """Do what `prepare` decided; `callback.on_progress` is called as each input ends.

    `linked` names the array whose folder may be a link. A kill at any moment loses only results that were not
    committed. Raises PipelineError at the first bad input where `stop_on_error`, and CacheError where the cache cannot
    be written.
    """
    made = kept = 0
    unreadable = dict(job.plan.unreadable)
    progress = Progress(callback, len(job.plan.tasks))
    with store.writing(job.root, job.attributes, job.entries, linked) as writer:
        writer.forget(job.plan.forget)
        writer.commit(job.plan.commits)
        for outcome in make_samples(writer, job.recipe, job.plan.tasks, executor):
            entry = outcome.entry
            progress.add(entry)
            made += entry.state == "complete" and not outcome.kept
            kept += outcome.kept
            if outcome.unreadable:
                unreadable[entry.id] = outcome.unreadable
            if stop_on_error and entry.state == "quarantined":
                raise PipelineError(f"{cut(entry.file)}: {entry.reason}")
        summary = summarise(job.attributes, writer.entries)
    return replace(
        summary,
        made=made,
        vanished=job.plan.vanished,
        kept=job.plan.kept + kept,
        unreadable=unreadable,
        wrong_labels=list(map(str, job.labels.wrong)),
        unlabelled=job.labels.unlabelled,
    )
