"""The `repair` job: make damaged, missing and stale samples again from their sources, and touch no others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache import catalog
from cache.errors import CacheError
from cache.fingerprint import digest_recipe
from cache.oserrors import ABSENT, reason, remedy
from cache.paths import cache_root
from cache.progress import Callback
from cache.schema import Attributes, Entry
from cache.text import cut, listed
from cache.verify import LINE, Report, check, verify
from cache.writer import open_writer
from pipeline.errors import PipelineError
from pipeline.jobs.commit import make_samples
from pipeline.jobs.plan import Task
from pipeline.jobs.progress import Progress
from pipeline.recipes.stored import recipe_from_json
from pipeline.sources.format import format_of
from pipeline.sources.records import Record, observe_readable
from pipeline.workers.executor import ExecutorContext

MAX_FILES = 100_000  # searched for the source of a sample: an untrusted cache may name any folder


@dataclass
class RepairResult:
    """The ids that were `repaired`, and those that were not, with the reason."""

    repaired: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RepairJob:
    """The samples to make again (`tasks`), and the result for those that need not or cannot be made."""

    root: Path
    attributes: Attributes
    entries: Mapping[str, Entry]
    tasks: list[Task]
    result: RepairResult


def prepare(root: Path, report: Report | None = None) -> RepairJob:
    """Plan the samples to make again so that `verify` finds no fault. Nothing is written.

    `report` is the result of `verify`; without it the cache is verified first. Raises NotACache, and CacheError for a
    cache of features, which only `features` can write again.
    """
    root = cache_root(root)
    attributes = catalog.read_attributes(root)
    check_kind(root, attributes)
    entries = catalog.read_entries(root)
    report = report or verify(root)
    result = RepairResult(failed=dict(report.unreadable))
    tasks = list(_tasks(root, attributes, entries, report, result))
    return RepairJob(root, attributes, entries, tasks, result)


def check_kind(root: Path, attributes: Attributes) -> None:
    """Raise CacheError for a cache of features, naming the command that writes it again."""
    if attributes.kind == "features":
        volumes = "".join(attributes.sources[-1:])
        command = f"run `features {volumes} {root}` again" if volumes else "write it again with `write_features`"
        raise CacheError(f"{root} is a feature cache, which `repair` cannot rebuild; {command}")


def run(job: RepairJob, executor: ExecutorContext, callback: Callback | None = None, linked: str = "") -> RepairResult:
    """Make the planned samples again and publish the index.

    A sample whose source is gone or invalid is reported in the result. `linked` names the array whose folder may be a
    link. Raises CacheError where the cache cannot be written, and PipelineError where workers fail.
    """
    recipe = recipe_from_json(job.attributes.recipe)
    result = RepairResult(list(job.result.repaired), dict(job.result.failed))
    progress = Progress(callback, len(job.tasks))
    with open_writer(job.root, job.attributes, job.entries, linked) as writer:
        for outcome in make_samples(writer, recipe, job.tasks, executor, only_complete=True):
            entry = outcome.entry
            progress.add(entry)
            if entry.state == "complete":
                result.repaired.append(entry.id)
            else:
                result.failed[entry.id] = entry.reason
    return result


def _tasks(
    root: Path, attributes: Attributes, entries: Mapping[str, Entry], report: Report, result: RepairResult
) -> Iterator[Task]:
    """The samples to make again; adds to `result` those that need not or cannot be made."""
    recipe = digest_recipe(attributes.recipe)
    faults = report.damaged | report.missing | report.stale
    without_source = {name for name in faults if name in entries and not entries[name].source.files}
    for name in faults.keys() & entries.keys() - without_source:
        entry = entries[name]
        if check(root, entry, recipe)[0] in ("", "vanished"):  # only the published arrays were wrong
            result.repaired.append(name)
            continue
        try:
            source = observe_readable(entry.source)
        except (OSError, ValueError) as error:
            result.failed[name] = f"{faults[name]}; but its source {cut(entry.file)} {_unreachable_reason(error)}"
        else:  # an intact chunk stays where it is: readers may have it open
            row = -1 if name in report.stale else entry.row
            yield Task(Record(entry.id, source, entry.label, entry.group), row)
    unlisted: list[str] = []
    for record in _find_sources(attributes, without_source, unlisted):
        if record.id in without_source:
            without_source.discard(record.id)
            entry = entries[record.id]
            yield Task(replace(record, label=entry.label, group=entry.group), entry.row)
    not_found = "; ".join(unlisted) or f"no source of this name is below {listed(attributes.sources)}"
    result.failed |= {name: f"{faults[name]}; but {not_found}" for name in without_source}
    _settle_unlisted(faults.keys() - entries.keys(), entries, result)


def _settle_unlisted(keys: set[str], entries: Mapping[str, Entry], result: RepairResult) -> None:
    """Settle faults that belong to no entry: damaged ledger lines are dropped, damaged arrays written again."""
    lines = {key for key in keys if key.startswith(LINE)}
    if len(lines) > sum(not entry.digest for entry in entries.values() if entry.state == "complete"):
        result.failed |= dict.fromkeys(lines, "dropped; run `preprocess` to make again the samples that it described")
        keys = keys - lines  # no array says which samples they described
    result.repaired += keys


def _unreachable_reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno not in ABSENT:
        return f"cannot be reached: {reason(error)}; {remedy(error, 'check the path and its permissions')}"
    return "is gone: restore it"


def _find_sources(attributes: Attributes, ids: set[str], unlisted: list[str]) -> Iterator[Record]:
    """The records of `ids` in the folders from which the cache was made.

    Adds to `unlisted` why a folder could not be listed.
    """
    missing, roots = set(ids), dict.fromkeys(map(Path, attributes.sources))
    for root in roots:
        if not missing or roots.keys() & {*root.parents}:
            continue
        try:
            records = format_of(attributes.kind).find(root, max_files=MAX_FILES).records
        except PipelineError as error:
            if isinstance(error.__cause__, OSError):
                unlisted.append(str(error))
            continue
        matches = [record for record in records if record.id in missing]
        missing -= {record.id for record in matches}
        yield from matches
