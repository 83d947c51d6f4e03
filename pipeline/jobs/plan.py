"""Decides which samples are missing or stale, from the inputs below SOURCE and the ledger's entries. Pure.

An input is current while its entry has this recipe and its files have the recorded root, names, size and time. If the
files of a complete sample only look different, their bytes are compared before it is made again (`Task.existing`).
"""

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace

from cache.resume import free_rows
from cache.schema import Entry, Source
from pipeline.sources.ids import path_id
from pipeline.sources.records import Record


@dataclass(frozen=True, slots=True)
class Task:
    """One sample to make, from `record` into `row`; -1 means any free row, because readers may have its own row open.

    `existing` is its complete entry if the bytes of its files must be compared to find out whether it is current.
    """

    record: Record
    row: int
    existing: Entry | None = None


@dataclass
class Plan:
    """The `tasks` to run, after writing `commits` (changed labels, exclusions) and forgetting the ids in `forget`.

    `kept` counts inputs that are current. `vanished` are ids of complete samples whose source is gone, `unreadable`
    those whose source cannot be accessed, with the reason.
    """

    tasks: list[Task] = field(default_factory=list)
    commits: list[Entry] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    kept: int = 0


def make_plan(
    records: Collection[Record],
    excluded: Mapping[str, str],
    entries: Mapping[str, Entry],
    *,
    root: str,
    recipe: str,
    software: str,
    rows_present: Container[int],
    reserved_rows: Collection[int] = (),
    relabel: bool,
) -> Plan:
    """Compare the inputs below `root` with the ledger's `entries`.

    `recipe` is the recipe's digest. `software` is this version: inputs that it has quarantined are not tried again.
    `rows_present` are the rows that have a chunk file, `reserved_rows` those that must not be overwritten although no
    entry has them. With `relabel` the records' labels and groups replace those in the ledger. New inputs take the
    lowest free rows, in the order of `records`.
    """
    plan = Plan()
    rows = free_rows(entries.values(), reserved_rows)
    for record in records:
        entry = entries.get(record.id)
        if entry is None or entry.row < 0:
            plan.tasks.append(Task(record, next(rows)))
            continue
        if not relabel and (record.label, record.group) != (entry.label, entry.group):
            record = replace(record, label=entry.label, group=entry.group)
        is_settled = _is_settled(entry, recipe, software, rows_present)
        _add_recorded(plan, record, entry, is_settled, _row(entry, rows_present))
    plan.commits += _exclusions(excluded, entries, root)
    seen = {record.id for record in records} | {path_id(root, file) for file in excluded}
    gone = [entry for entry in entries.values() if entry.source.root == root and entry.id not in seen]
    plan.vanished += [entry.id for entry in gone if entry.state == "complete"]
    plan.forget = [entry.id for entry in gone if entry.state != "complete"]
    return plan


def _add_recorded(plan: Plan, record: Record, entry: Entry, is_settled: bool, row: int) -> None:
    """Add an input that has an `entry`; a new version of it goes into `row`."""
    if entry.state == "complete" and record.source.size < 0:
        if record.unreadable:
            plan.unreadable[entry.id] = record.unreadable
        else:  # for example a dangling link
            plan.vanished.append(entry.id)
    elif not is_settled:
        plan.tasks.append(Task(record, row))
    elif not same_files(entry.source, record.source):
        plan.tasks.append(Task(record, row, entry if entry.state == "complete" else None))
    else:
        plan.kept += 1
        plan.commits += _relabelled(entry, record)


def _row(entry: Entry, rows_present: Container[int]) -> int:
    """The row for a new version of an input: its own, or -1 (any free row) if its own holds an intact sample."""
    return -1 if entry.state == "complete" and entry.digest and entry.row in rows_present else entry.row


def same_files(old: Source, new: Source) -> bool:
    """Whether root, names, size and time are equal, in which case the bytes are not read."""
    return (old.root, old.files, old.size, old.mtime_ns) == (new.root, new.files, new.size, new.mtime_ns)


def _is_settled(entry: Entry, recipe: str, software: str, rows_present: Container[int]) -> bool:
    """Whether the input needs no new task if its source is unchanged."""
    if entry.recipe != recipe:
        return False
    if entry.state == "complete":
        return entry.row in rows_present
    return not entry.retry and entry.details.get("software") == software


def _relabelled(entry: Entry, record: Record) -> list[Entry]:
    if (entry.label, entry.group) == (record.label, record.group):
        return []
    return [entry.replace(label=record.label, group=record.group)]


def _exclusions(excluded: Mapping[str, str], entries: Mapping[str, Entry], root: str) -> Iterator[Entry]:
    for file, reason in excluded.items():
        entry = Entry(id=path_id(root, file), state="excluded", reason=reason, source=Source(root, (file,)))
        if entries.get(entry.id) != entry:
            yield entry
