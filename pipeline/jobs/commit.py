"""Run tasks on an executor and commit their results to the ledger, one batch at a time.

A kill at any moment loses only results that were not yet committed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cache.fingerprint import digest_recipe
from cache.resume import free_rows
from cache.schema import Entry
from cache.writer import CacheWriter
from pipeline.jobs.plan import Task
from pipeline.jobs.sample import SourceCheck, check_source, make_sample
from pipeline.recipes.base import Recipe
from pipeline.workers.executor import Executor, ExecutorContext
from pipeline.workers.failures import TaskFailure


@dataclass(frozen=True)
class Outcome:
    """The outcome of one task: its committed `entry`.

    `kept` is True where an existing sample stays. `unreadable` is the reason why its source could not be read, or "".
    """

    entry: Entry
    kept: bool = False
    unreadable: str = ""


def make_samples(
    writer: CacheWriter,
    recipe: Recipe,
    tasks: Sequence[Task],
    executor: ExecutorContext,
    only_complete: bool = False,
) -> Iterator[Outcome]:
    """Run `tasks` and commit their entries, yielding each outcome once it is durable.

    Samples whose files only look different are compared by their bytes first. A sample whose changed source cannot be
    read at the moment is kept. With `only_complete`, a task that makes no sample leaves its entry in the ledger
    unchanged.
    """
    if not tasks:
        return
    with executor as run_tasks:
        changed: set[str] = set()
        for outcomes, changed_ids in _check_sources(writer, tasks, run_tasks):
            yield from outcomes
            changed |= changed_ids
        remaining = [task for task in tasks if not task.existing or task.record.id in changed]
        rows = free_rows(writer.entries.values(), {*writer.reserved_rows, *(task.row for task in tasks)})
        placed = [task if task.row >= 0 else replace(task, row=next(rows), existing=None) for task in remaining]
        replaced = {task.record.id for task in remaining if task.row < 0 and not only_complete}
        existing = {name: writer.entries[name] for name in replaced}
        make = partial(make_sample, writer.root, recipe, linked=writer.linked)
        for batch in run_tasks(make, placed) if placed else ():
            new_entries = [
                _failed(task, recipe, done) if isinstance(done, TaskFailure) else done for task, done in batch
            ]
            outcomes = [_keep_existing(entry, existing.get(entry.id)) for entry in new_entries]
            entries = [outcome.entry for outcome in outcomes]
            writer.commit(entry for entry in entries if entry.state == "complete" or not only_complete)
            yield from outcomes


def _check_sources(
    writer: CacheWriter, tasks: Sequence[Task], run_tasks: Executor
) -> Iterator[tuple[list[Outcome], set[str]]]:
    """Compare files that only look different by their bytes: committed outcomes, and the ids whose bytes changed."""
    uncertain = [task for task in tasks if task.existing]
    for batch in run_tasks(check_source, uncertain) if uncertain else ():
        checks = {task.record.id: done if isinstance(done, SourceCheck) else SourceCheck(None) for task, done in batch}
        outcomes = [Outcome(check.entry, True, check.unreadable) for check in checks.values() if check.entry]
        writer.commit([outcome.entry for outcome in outcomes])
        yield outcomes, {name for name, check in checks.items() if not check.entry}


def _keep_existing(entry: Entry, existing: Entry | None) -> Outcome:
    """The outcome for `entry`, or for the `existing` sample where the failure may be temporary."""
    if existing is None or not entry.retry:
        return Outcome(entry)
    return Outcome(existing.replace(label=entry.label, group=entry.group), True, entry.reason)


def _failed(task: Task, recipe: Recipe, failure: TaskFailure) -> Entry:
    record = task.record
    return Entry(
        record.id,
        "quarantined",
        row=task.row,
        label=record.label,
        group=record.group,
        recipe=digest_recipe(recipe.to_json()),
        source=record.source,
        reason=failure.reason,
        retry=True,
    )
