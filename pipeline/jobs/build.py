"""The story of this half: look at the source, plan, run the plan, commit each sample, account for every input."""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cache
from cache import store
from cache.errors import CacheError
from cache.fingerprint import digest_files, digest_recipe
from cache.oserrors import ABSENT, reason, remedy
from cache.paths import absolute, cache_root
from cache.resume import carry_labels, existing, free_rows
from cache.schema import MAX_SOURCES, Attributes, Entry, Source, composed
from cache.text import cut, listed, shown
from cache.verify import LINE, Report, check, verify
from pipeline.checks.findings import Findings, collect_findings
from pipeline.errors import Excluded, PipelineError, Refused
from pipeline.jobs.plan import Plan, Task, make_plan
from pipeline.labels.apply import LabelReport, apply_labels, refuse_wiping
from pipeline.labels.classes import Relabelling, relabelling
from pipeline.labels.columns import ColumnChoice
from pipeline.sources.records import FINDERS, TUBERCULOSIS_TYPES, Inputs, Record, keep_ids, observe_readable
from pipeline.sources.walk import is_folder
from pipeline.transforms.recipes import Recipe, recipe_from_json
from pipeline.workers import execute

MOST_FILES = 100_000  # among which `repair` looks for the source of a sample: an untrusted cache may name any folder
Watcher = Callable[[Entry], None]
Executors = AbstractContextManager[execute.Executor]


@dataclass(frozen=True)
class Job:
    """Everything that is fixed before any work: what to make, out of what, into which cache."""

    source: Path
    root: Path
    recipe: Recipe
    attributes: Attributes
    inputs: Inputs
    labels: LabelReport
    entries: Mapping[str, Entry]
    plan: Plan
    relabelling: Relabelling | None = None


@dataclass
class Summary:
    """How a run ended: the cache's ledger, and what this run did.

    `complete` counts samples; `quarantined` and `excluded` map each input's path to the reason: below SOURCE, or whole
    where the cache has several SOURCEs. `labels` counts samples by class name, None for the unlabelled; `findings` are
    what is odd about complete samples; `patients` counts those that a labels CSV named. Samples are kept where their
    source is `vanished`, or `unreadable` for the reason given, so that nobody can say whether it has changed.
    """

    complete: int
    quarantined: dict[str, str]
    excluded: dict[str, str]
    labels: dict[str | None, int]
    findings: Findings = field(default_factory=Findings)
    made: int = 0
    kept: int = 0
    vanished: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    wrong_labels: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    patients: int = 0

    @property
    def flags(self) -> dict[str, list[str]]:
        """What is implausible about complete samples: id → texts, only of those that have some."""
        return self.findings.flags

    @property
    def notes(self) -> dict[str, list[str]]:
        """What was odd about complete samples, yet accepted: id → texts, only of those that have some."""
        return self.findings.notes

    @property
    def discovered(self) -> int:
        return self.complete + len(self.quarantined) + len(self.excluded)


# -- preprocess --------------------------------------------------------------------------------------------------------


def prepare(
    source: Path,
    root: Path,
    recipe: Recipe,
    class_names: Sequence[str] | None = None,
    labels: Path | None = None,
    columns: ColumnChoice | None = None,
) -> Job:
    """Look at SOURCE and CACHE and decide what there is to do. Nothing is written.

    `class_names` of None takes the class folders of clips; for CT those of the cache, or the five types. `columns` are
    those of `labels` that the user chose. Raises PipelineError or CacheError where a run cannot start: no such folder,
    two inputs of one id, unreadable labels, or a CACHE that is something else or of another recipe.
    """
    source, root = absolute(source).resolve(), cache_root(root)
    old = existing(root, recipe.to_json())
    sources = old.sources if old else ()
    _refuse_nested(source, sources)
    inputs = FINDERS[recipe.kind](source, root, class_names, old.class_names if old else ())
    old_names = old.class_names if old else ()
    names = tuple(map(composed, inputs.class_names or class_names or old_names or TUBERCULOSIS_TYPES))
    known = store.load(root)
    entries = known.entries
    inputs.records = keep_ids(inputs.records, entries)
    relabel = labels is not None or bool(inputs.class_names)
    told = {record.id for record in inputs.records} if relabel else set()
    names, carried = _carry_labels(entries, told, old_names, names, may_add=relabel)
    report = LabelReport()
    if labels and (inputs.records or entries):
        read = partial(
            apply_labels, path=labels, class_names=names, choice=columns, by_position=class_names is not None
        )
        inputs.records, moved, report = _label(inputs.records, dict(entries) | carried, read)
        carried |= moved
        refuse_wiping(report, labels, (entry for entry in entries.values() if entry.id in told))
    patients = report.patient_column or (old.patient_column if old else "")
    sources = tuple(dict.fromkeys((*sources, str(source))))[-MAX_SOURCES:]
    try:
        attributes = Attributes(recipe.kind, recipe.to_json(), names, sources, patient_column=patients)
    except ValueError as error:
        raise PipelineError(f"no cache can be made of {source}: {error}") from error
    _refuse_taken_ids(inputs.records, entries)
    _refuse_excluding_samples(str(source), inputs.excluded, entries)
    plan = make_plan(
        inputs.records,
        inputs.excluded,
        dict(entries) | carried,
        root=str(source),
        recipe=digest_recipe(attributes.recipe),
        software=cache.__version__,
        rows_present=store.rows_present(root),
        kept=store.kept_rows(root, known, attributes.layout),
        relabel=relabel,
    )
    settled = {entry.id for entry in plan.commits} | set(plan.forget)
    plan.commits += [entry for entry in carried.values() if entry.id not in settled]
    after = {entry_id: entry.label for entry_id, entry in carried.items()}
    after |= {record.id: record.label for record in inputs.records if record.id in told}
    changed = relabelling(entries.values(), after, old_names, names)
    return Job(source, root, recipe, attributes, inputs, report, entries, plan, changed)


def run(job: Job, executor: Executors, watch: Watcher, stop_on_error: bool = False, linked: str = "") -> Summary:
    """Do what `prepare` planned, calling `watch` with each input's entry as it ends.

    A kill at any moment loses only what was not committed. Raises PipelineError at the first bad input where
    `stop_on_error`, and CacheError where the cache cannot be written.
    """
    made, kept = 0, dict[str, str]()
    with store.writing(job.root, job.attributes, job.entries, linked) as writer:
        writer.forget(job.plan.forget)
        writer.commit(job.plan.commits)
        for entry in _make_all(writer, job.recipe, job.plan.tasks, executor, kept=kept):
            watch(entry)
            made += entry.state == "complete" and entry.id not in kept
            if stop_on_error and entry.state == "quarantined":
                raise PipelineError(f"{cut(entry.file)}: {entry.reason}")
        summary = summarise(job.attributes, writer.entries)
    return replace(
        summary,
        made=made,
        vanished=job.plan.vanished,
        kept=job.plan.kept + len(kept),
        unreadable=job.plan.unreadable | {name: why for name, why in kept.items() if why},
        wrong_labels=list(map(str, job.labels.wrong)),
        unlabelled=job.labels.unlabelled,
    )


def summarise(attributes: Attributes, entries: Mapping[str, Entry]) -> Summary:
    """The ledger in figures: every input ended in one of the three ways."""
    by_state: dict[str, list[Entry]] = {"complete": [], "quarantined": [], "excluded": []}
    for entry in entries.values():
        by_state[entry.state].append(entry)
    names = dict(enumerate(attributes.class_names))
    labels: dict[str | None, int] = dict.fromkeys((*attributes.class_names, None), 0)
    for entry in by_state["complete"]:
        labels[names.get(entry.label)] += 1
    several = len({entry.source.root for entry in entries.values()}) > 1
    reasons = {
        state: {_shown_file(entry, several): entry.reason for entry in found}
        for state, found in by_state.items()
        if state != "complete"
    }
    findings = collect_findings(by_state["complete"], names)
    summary = Summary(len(by_state["complete"]), reasons["quarantined"], reasons["excluded"], labels, findings)
    if attributes.kind == "ct":  # the groups of clips are scenes
        summary.patients = len({entry.group for entry in by_state["complete"] if entry.group != entry.id})
    return summary


def _shown_file(entry: Entry, whole: bool) -> str:
    return entry.file if whole or not entry.source.files else entry.source.files[0]


# -- one sample --------------------------------------------------------------------------------------------------------


def make_sample(root: Path, recipe: Recipe, task: Task, linked: str = "") -> Entry:
    """Make one sample and write its chunk: what runs on the workers. Its entry is not committed yet.

    Whatever is wrong with the input becomes a quarantine. Raises CacheError where the cache cannot be written.
    """
    execute.pin_threads()
    record = task.record
    end = partial(
        Entry, record.id, row=task.row, label=record.label, group=record.group, recipe=digest_recipe(recipe.to_json())
    )
    refuse = partial(end, "quarantined", source=record.source, details={"software": cache.__version__})
    try:
        source = _check_files(record)
        made = recipe.make(source.paths)
    except Excluded as error:
        return end("excluded", source=record.source, reason=str(error), details={"software": cache.__version__})
    except ImportError as error:
        raise PipelineError(
            f"a library is missing or broken: {cut(error)}; install this project's set again"
        ) from error
    except Exception as error:
        if isinstance(error, PipelineError) and not isinstance(error, Refused):
            raise
        why, retry = _reason(error)
        return refuse(reason=why, retry=retry)
    source = replace(source, digest=made.digest)
    if record.note:
        made.details["notes"].append(record.note)
    nbytes, digest = store.write_chunk(root, task.row, made.values, recipe.dtype, linked)
    return end("complete", source=source, nbytes=nbytes, digest=digest, details=made.details)


@dataclass(frozen=True)
class Checked:
    """A sample whose files look different: its `entry`, None where they have changed; `unreadable` says why the system
    cannot tell, "" where it can."""

    entry: Entry | None
    unreadable: str = ""


def check_source(task: Task) -> Checked:
    """Whether the sample that is known of `task` is still that of its files: what runs on the workers.

    Raises PipelineError where the sample of another file would be replaced.
    """
    known, record = task.known, task.record
    assert known is not None
    kept = replace(known, label=record.label, group=record.group)
    try:
        source = _check_files(record)
        digest = digest_files(source.paths)
    except OSError as error:
        return Checked(kept, reason(error))
    except Refused:
        return Checked(None)
    if digest == known.source.digest:
        return Checked(replace(kept, source=replace(source, digest=digest)))
    if known.source.root != source.root:
        raise _other_source(record, known)
    return Checked(None)


def _reason(error: Exception) -> tuple[str, bool]:
    """Why an input is quarantined, and whether that may pass by itself. One bad file never ends a run."""
    if isinstance(error, Refused):
        return str(error), False
    if isinstance(error, OSError):
        todo = remedy(error, "check it and run again")
        return f"it cannot be read ({reason(error)}); expected a readable file; {todo}", True
    if isinstance(error, MemoryError):
        return "not enough memory; expected it to fit; use fewer --workers and run again", True
    return f"reading it failed ({type(error).__name__}: {cut(error)}); expected a sound file; check it", False


def _check_files(record: Record) -> Source:
    """The source of `record` as it is now. Raises Refused if it cannot be a sample, OSError if it cannot be reached."""
    if record.refusal:
        raise Refused(*record.refusal)
    try:
        record.id.encode()
    except UnicodeEncodeError as error:
        raise Refused("its name is not valid UTF-8", "a name that every system can read", "rename it") from error
    for path in record.source.paths:
        path.stat()
        if not path.is_file():  # opening a pipe or a device could wait for ever
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise Refused(f"{path.name!r} is {kind}", "a file", "rename it, or take it out of SOURCE")
    return observe_readable(record.source)


def _make_all(
    writer: store.CacheWriter,
    recipe: Recipe,
    tasks: Sequence[Task],
    executor: Executors,
    keep: bool = False,
    kept: dict[str, str] | None = None,
) -> Iterator[Entry]:
    """Run `tasks` and commit what comes of them, yielding each entry once it is durable.

    With `keep` only samples are committed: what could not be made stays in the ledger as it was. Samples that stay as
    they are, even if their source has changed but cannot be read now, are added to `kept`: id → why the system could
    not read the source, "" if it could.
    """
    if not tasks:
        return
    make = partial(make_sample, writer.root, recipe, linked=writer.linked)
    with executor as run_all:
        changed: set[str] = set()
        doubtful = [task for task in tasks if task.known]
        for batch in run_all(check_source, doubtful) if doubtful else ():
            checked = {task.record.id: end if isinstance(end, Checked) else Checked(None) for task, end in batch}
            entries = [found.entry for found in checked.values() if found.entry]
            writer.commit(entries)
            if kept is not None:
                kept |= {name: found.unreadable for name, found in checked.items() if found.entry}
            yield from entries
            changed |= {name for name, found in checked.items() if not found.entry}
        rows = free_rows(writer.entries.values(), {*writer.kept, *(task.row for task in tasks)})
        rest = [task for task in tasks if not task.known or task.record.id in changed]
        placed = [task if task.row >= 0 else replace(task, row=next(rows), known=None) for task in rest]
        good = {task.record.id: writer.entries[task.record.id] for task in rest if task.row < 0 and not keep}
        for batch in run_all(make, placed) if placed else ():
            ends = [_lost(task, recipe, end) if isinstance(end, execute.Lost) else end for task, end in batch]
            entries = [_unless_good(end, good) for end in ends]
            writer.commit(entry for entry in entries if entry.state == "complete" or not keep)
            if kept is not None:
                kept |= {end.id: end.reason for end in ends if end.retry and end.id in good}
            yield from entries


def _unless_good(end: Entry, good: Mapping[str, Entry]) -> Entry:
    """`end`, but the sample there is in `good` where its changed source may be read another time."""
    return replace(good[end.id], label=end.label, group=end.group) if end.retry and end.id in good else end


def _lost(task: Task, recipe: Recipe, lost: execute.Lost) -> Entry:
    record = task.record
    return Entry(
        record.id,
        "quarantined",
        row=task.row,
        label=record.label,
        group=record.group,
        recipe=digest_recipe(recipe.to_json()),
        source=record.source,
        reason=lost.reason,
        retry=True,
    )


# -- before a run ------------------------------------------------------------------------------------------------------


def _refuse_nested(source: Path, sources: Sequence[str]) -> None:
    """Raise where files would be in the cache twice: below SOURCE and below a SOURCE of an earlier run."""
    for old in map(Path, sources):
        if source != old and is_folder(old) and (source.is_relative_to(old) or old.is_relative_to(source)):
            raise PipelineError(
                f"SOURCE {source} and {old}, of which this cache was made, lie one in the other: files would be in it "
                "twice; give the same SOURCE as before, or another CACHE"
            )


def _refuse_taken_ids(records: Sequence[Record], entries: Mapping[str, Entry]) -> None:
    """Raise where an input of another SOURCE, still there or of another size, has the id of one of `records`."""
    for record in records:
        entry = entries.get(record.id)
        if entry is None or not entry.source.files or entry.source.root == record.source.root or record.unreadable:
            continue
        if entry.state == "complete" and entry.source.size != record.source.size:
            raise _other_source(record, entry)
        if all(path.exists() for path in entry.source.paths):
            raise PipelineError(
                f"{cut(record.source.paths[0])} and {cut(entry.file)} would both get the id {shown(record.id)}; "
                "rename one, or use another CACHE"
            )


def _other_source(record: Record, entry: Entry) -> PipelineError:
    return PipelineError(
        f"{cut(record.source.paths[0])} would replace the sample {shown(record.id)}, made of {cut(entry.file)}, which "
        "has other bytes; put it back there, rename the new one, or use another CACHE"
    )


def _refuse_excluding_samples(root: str, excluded: Mapping[str, str], entries: Mapping[str, Entry]) -> None:
    """Raise where a file that would now be excluded has a sample already."""
    for entry in entries.values():
        file = next(iter(entry.source.files), "")
        if entry.state == "complete" and entry.source.root == root and file in excluded:
            raise PipelineError(
                f"{cut(file)} is in the cache, but now it would be excluded ({excluded[file]}); "
                "give the same options as before, or another CACHE"
            )


def _carry_labels(
    entries: Mapping[str, Entry], told: Container[str], old: Sequence[str], names: tuple[str, ...], may_add: bool
) -> tuple[tuple[str, ...], dict[str, Entry]]:
    """Class names, and the entries whose label must change, so that samples not `told` anew keep their class by name.

    Classes still in use are added to `names` where it `may_add`; raises where they are missing otherwise.
    """
    wanted, moved = carry_labels(entries, told, old, names)
    if (missing := wanted[len(names) :]) and not may_add:
        raise PipelineError(
            f"the cache has samples of class {listed(missing)}, which is not among {listed(names)}; "
            "name these classes too, or give the labels again with --labels"
        )
    return wanted, moved


def _label(
    records: Sequence[Record],
    entries: Mapping[str, Entry],
    read: Callable[..., tuple[list[Record], LabelReport]],
) -> tuple[list[Record], dict[str, Entry], LabelReport]:
    """`records` labelled by `read`, the entries of other samples of the cache that it labels too, and its report.

    Groups in the ledger's `entries` are those of the records, too.
    """
    ids = {record.id for record in records}
    known = [replace(item, group=entries[item.id].group) if item.id in entries else item for item in records]
    rest = [entry for entry in entries.values() if entry.state == "complete" and entry.id not in ids]
    others = [Record(entry.id, entry.source, entry.label, entry.group) for entry in rest]
    labelled, report = read(known, others=others)
    new = zip(rest, labelled[len(records) :], strict=True)
    moved = {entry.id: replace(entry, label=item.label, group=item.group) for entry, item in new}
    return labelled[: len(records)], {name: entry for name, entry in moved.items() if entry != entries[name]}, report


@dataclass(frozen=True)
class Estimate:
    """What one sample takes: seconds of one worker, stored bytes, and the peak memory of this process in bytes; found
    by making the sample `id` without storing it."""

    id: str
    seconds: float
    nbytes: int
    memory: int


def _stored_bytes(recipe: Recipe, task: Task) -> int:
    """How large the sample of `task` is when stored; it is made and not kept."""
    return len(store.encode(recipe.make(task.record.source.paths).values, recipe.dtype))


def estimate(job: Job, timeout: float, tries: int = 3) -> Estimate | None:
    """The cost of a planned sample of middling size; None where none of the first few can be made in `timeout` s."""
    by_size = sorted(job.plan.tasks, key=lambda task: task.record.source.size)
    middle = len(by_size) // 2
    execute.pin_threads()
    for task in [task for task in by_size if not task.record.refusal][middle : middle + tries]:
        start = time.perf_counter()
        with suppress(Exception):  # whatever it is, the run will name it
            [[(_, nbytes)]] = execute.serial(partial(_stored_bytes, job.recipe), [task], timeout)
            if isinstance(nbytes, int):
                return Estimate(task.record.id, time.perf_counter() - start, nbytes, execute.peak_memory())
    return None


# -- repair ------------------------------------------------------------------------------------------------------------


@dataclass
class Healing:
    """What `repair` did: ids `healed`, and those that are still not sound, with the reason."""

    healed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RepairJob:
    """Samples to make again (`tasks`), and what is known already of the others that are not sound (`healing`)."""

    root: Path
    attributes: Attributes
    entries: Mapping[str, Entry]
    tasks: list[Task]
    healing: Healing


def prepare_repair(root: Path, found: Report | None = None) -> RepairJob:
    """What to make again so that `verify` finds the cache sound. Nothing is written.

    Raises NotACache, and CacheError for features, which what made them must make again.
    """
    root = cache_root(root)
    attributes = store.read_attributes(root)
    _refuse_features(root, attributes)
    entries = store.read_entries(root)
    found = found or verify(root)
    healing = Healing(failed=dict(found.unreadable))
    tasks = list(_repair_tasks(root, attributes, entries, found, healing))
    return RepairJob(root, attributes, entries, tasks, healing)


def _refuse_features(root: Path, attributes: Attributes) -> None:
    if attributes.kind == "features":
        volumes = "".join(attributes.sources[-1:])
        again = f"run `features {volumes} {root}` again" if volumes else "write it again with `write_features`"
        raise CacheError(f"{root} is a feature cache, which `repair` cannot rebuild; {again}")


def repair(job: RepairJob, executor: Executors, watch: Watcher, linked: str = "") -> Healing:
    """Make the planned samples again from their sources, and nothing else; publish the index.

    A sample whose source is gone or refused is reported. Raises CacheError, PipelineError.
    """
    recipe = recipe_from_json(job.attributes.recipe)
    healing = job.healing
    with store.writing(job.root, job.attributes, job.entries, linked) as writer:
        for entry in _make_all(writer, recipe, job.tasks, executor, keep=True):
            watch(entry)
            if entry.state == "complete":
                healing.healed.append(entry.id)
            else:
                healing.failed[entry.id] = entry.reason
    return healing


def _repair_tasks(
    root: Path, attributes: Attributes, entries: Mapping[str, Entry], found: Report, healing: Healing
) -> Iterator[Task]:
    """What to make again; adds to `healing` what needs nothing more, and what cannot be made."""
    recipe = digest_recipe(attributes.recipe)
    faults = found.damaged | found.missing | found.stale
    lost = {name for name in faults if name in entries and not entries[name].source.files}
    for name in faults.keys() & entries.keys() - lost:
        entry = entries[name]
        if check(root, entry, recipe)[0] in ("", "vanished"):  # only the published arrays were wrong
            healing.healed.append(name)
            continue
        try:
            source = observe_readable(entry.source)
        except (OSError, ValueError) as error:
            healing.failed[name] = f"{faults[name]}; but its source {cut(entry.file)} {_why_unreachable(error)}"
        else:  # where its chunk is as written, readers may have it open
            row = -1 if name in found.stale else entry.row
            yield Task(Record(entry.id, source, entry.label, entry.group), row)
    unlisted: list[str] = []
    for record in _rediscover(attributes, lost, unlisted):
        if record.id in lost:
            lost.discard(record.id)
            entry = entries[record.id]
            yield Task(replace(record, label=entry.label, group=entry.group), entry.row)
    nowhere = "; ".join(unlisted) or f"no source of this name is below {listed(attributes.sources)}"
    healing.failed |= {name: f"{faults[name]}; but {nowhere}" for name in lost}
    unknown = faults.keys() - entries.keys()  # damaged ledger lines are dropped, damaged arrays written again
    lines = {name for name in unknown if name.startswith(LINE)}
    if len(lines) > sum(not entry.digest for entry in entries.values() if entry.state == "complete"):
        healing.failed |= dict.fromkeys(lines, "dropped; run `preprocess` to make again what it was about")
        unknown -= lines  # no array says whose they were
    healing.healed += unknown


def _why_unreachable(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno not in ABSENT:
        return f"cannot be reached: {reason(error)}; {remedy(error, 'check the path and its permissions')}"
    return "is gone: put it back"


def _rediscover(attributes: Attributes, ids: set[str], unlisted: list[str]) -> Iterator[Record]:
    """The records of `ids` in the folders the cache was made from; why the system could not list one is `unlisted`."""
    missing, roots = set(ids), dict.fromkeys(map(Path, attributes.sources))
    for root in roots:
        if not missing or roots.keys() & {*root.parents}:
            continue
        try:
            records = FINDERS[attributes.kind](root, most=MOST_FILES).records
        except PipelineError as error:
            if isinstance(error.__cause__, OSError):
                unlisted.append(str(error))
            continue
        found = [record for record in records if record.id in missing]
        missing -= {record.id for record in found}
        yield from found
