"""The `preprocess` job: list the inputs, plan, run the plan, commit each sample, account for every input.

`prepare` makes the plan and writes nothing; `run` carries it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cache
from cache import catalog
from cache.fingerprint import digest_recipe
from cache.paths import absolute, cache_root
from cache.progress import Callback
from cache.resume import attributes_to_extend
from cache.schema import MAX_SOURCES, Attributes, Entry
from cache.text import cut
from cache.writer import open_writer
from pipeline.errors import PipelineError
from pipeline.jobs.commit import make_samples
from pipeline.jobs.conflicts import check_exclusions, check_ids, check_nesting
from pipeline.jobs.labelling import Labelling, LabelSource, label_inputs
from pipeline.jobs.plan import Plan, make_plan
from pipeline.jobs.progress import Progress
from pipeline.jobs.summary import Summary, summarise
from pipeline.labels.apply import LabelReport
from pipeline.labels.classes import Relabelling
from pipeline.labels.columns import ColumnChoice
from pipeline.recipes.base import Recipe
from pipeline.sources.format import format_of
from pipeline.sources.ids import keep_ids
from pipeline.sources.records import Inputs
from pipeline.workers.executor import ExecutorContext


@dataclass(frozen=True)
class PreprocessJob:
    """The plan of a run: which samples to make, from which files, into which cache.

    `entries` is the current ledger; `relabelling` is the change in the meaning of class numbers, if there is one.
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
    """Plan a run from the current SOURCE and CACHE. Nothing is written.

    `class_names` None means the class folders of clips; for CT, the classes of the cache, or the five types. `labels`
    is a CSV, `columns` those of its columns that the user chose. Raises PipelineError or CacheError where a run cannot
    start: no such folder, two inputs with one id, unreadable labels, or a CACHE that is something else or has another
    recipe.
    """
    source, root = absolute(source).resolve(), cache_root(root)
    old = attributes_to_extend(root, recipe.to_json())
    check_nesting(source, old.sources if old else ())
    source_format = format_of(recipe.kind)
    inputs = source_format.find(source, root, class_names, old.class_names if old else ())
    ledger = catalog.read_contents(root)
    inputs.records = keep_ids(inputs.records, ledger.entries)
    labelling = label_inputs(
        inputs,
        ledger.entries,
        LabelSource(labels, columns, class_names),
        old.class_names if old else (),
        source_format.class_names,
    )
    inputs.records = labelling.records
    attributes = _attributes(source, recipe, labelling, old)
    check_ids(inputs.records, ledger.entries)
    check_exclusions(str(source), inputs.excluded, ledger.entries)
    plan = _plan(source, root, inputs, labelling, attributes, ledger)
    return PreprocessJob(
        source, root, recipe, attributes, inputs, labelling.report, ledger.entries, plan, labelling.change
    )


def _plan(
    source: Path,
    root: Path,
    inputs: Inputs,
    labelling: Labelling,
    attributes: Attributes,
    ledger: catalog.CacheContents,
) -> Plan:
    """The plan for `inputs`, which also commits the new labels of other samples."""
    plan = make_plan(
        inputs.records,
        inputs.excluded,
        dict(ledger.entries) | labelling.changed,
        root=str(source),
        recipe=digest_recipe(attributes.recipe),
        software=cache.__version__,
        rows_present=catalog.rows_present(root),
        reserved_rows=catalog.reserved_rows(root, ledger, attributes.layout),
        relabel=labelling.relabels,
    )
    planned = {entry.id for entry in plan.commits} | set(plan.forget)
    plan.commits += [entry for entry in labelling.changed.values() if entry.id not in planned]
    return plan


def _attributes(source: Path, recipe: Recipe, labelling: Labelling, old: Attributes | None) -> Attributes:
    """The attributes of the cache after this run, which adds `source` to its sources."""
    sources = tuple(dict.fromkeys((*(old.sources if old else ()), str(source))))[-MAX_SOURCES:]
    column = labelling.report.patient_column or (old.patient_column if old else "")
    try:
        return Attributes(recipe.kind, recipe.to_json(), labelling.class_names, sources, patient_column=column)
    except ValueError as error:
        raise PipelineError(f"no cache can be made from {source}: {error}") from error


def run(
    job: PreprocessJob,
    executor: ExecutorContext,
    callback: Callback | None = None,
    stop_on_error: bool = False,
    linked: str = "",
) -> Summary:
    """Carry out the plan of `prepare`; `callback.on_progress` is called as each input ends.

    `linked` names the array whose folder may be a link. A kill at any moment loses only results that were not
    committed. Raises PipelineError at the first bad input where `stop_on_error`, and CacheError where the cache cannot
    be written.
    """
    made = kept = 0
    unreadable = dict(job.plan.unreadable)
    progress = Progress(callback, len(job.plan.tasks))
    with open_writer(job.root, job.attributes, job.entries, linked) as writer:
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
