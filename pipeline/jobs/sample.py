"""The work on one task: make a sample and write its chunk, or check whether its source has changed.

These functions run in worker processes and on other machines, so they take and return plain data. They commit nothing:
the ledger is written by the process that started the run.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cache
from cache import store
from cache.fingerprint import digest_files, digest_recipe
from cache.oserrors import reason, remedy
from cache.schema import Entry, Source
from cache.text import cut
from pipeline.errors import Excluded, InvalidInput, PipelineError
from pipeline.jobs.conflicts import different_source
from pipeline.jobs.plan import Task
from pipeline.recipes.base import Recipe
from pipeline.sources.records import Record, observe_readable
from pipeline.workers.threads import pin_threads


def make_sample(root: Path, recipe: Recipe, task: Task, linked: str = "") -> Entry:
    """Make one sample, write its chunk into the cache in `root`, and return its entry, not yet committed.

    `linked` names the array whose folder may be a link. An input that cannot become a sample gives a quarantined or
    excluded entry. Raises CacheError where the cache cannot be written, and PipelineError where a library is missing.
    """
    pin_threads()
    record = task.record
    new_entry = partial(
        Entry, record.id, row=task.row, label=record.label, group=record.group, recipe=digest_recipe(recipe.to_json())
    )
    rejected = partial(new_entry, source=record.source, details={"software": cache.__version__})
    try:
        source = current_source(record)
        sample = recipe.make(source.paths)
    except Excluded as error:
        return rejected("excluded", reason=str(error))
    except ImportError as error:
        raise PipelineError(
            f"a library is missing or broken: {cut(error)}; install this project's dependencies again"
        ) from error
    except Exception as error:
        if isinstance(error, PipelineError) and not isinstance(error, InvalidInput):
            raise
        why, retry = quarantine_reason(error)
        return rejected("quarantined", reason=why, retry=retry)
    source = source.replace(digest=sample.digest)
    if record.note:
        sample.details["notes"].append(record.note)
    nbytes, digest = store.write_chunk(root, task.row, sample.values, recipe.dtype, linked)
    return new_entry("complete", source=source, nbytes=nbytes, digest=digest, details=sample.details)


@dataclass(frozen=True)
class SourceCheck:
    """Whether a sample whose files have another size or time is still current.

    `entry` is its new entry where it is kept, and None where the bytes of its files have changed. `unreadable` is the
    reason why the files could not be read, in which case the sample is kept; else "".
    """

    entry: Entry | None
    unreadable: str = ""


def check_source(task: Task) -> SourceCheck:
    """Compare the bytes of the task's files with those that `task.existing` was made from.

    Raises PipelineError if this would replace the sample of a file elsewhere.
    """
    existing, record = task.existing, task.record
    assert existing is not None
    kept = existing.replace(label=record.label, group=record.group)
    try:
        source = current_source(record)
        digest = digest_files(source.paths)
    except OSError as error:
        return SourceCheck(kept, reason(error))
    except InvalidInput:
        return SourceCheck(None)
    if digest == existing.source.digest:
        return SourceCheck(kept.replace(source=source.replace(digest=digest)))
    if existing.source.root != source.root:
        raise different_source(record, existing)
    return SourceCheck(None)


def quarantine_reason(error: Exception) -> tuple[str, bool]:
    """Why `error` quarantines an input, and whether a later run should try it again. One bad file never ends a run."""
    if isinstance(error, InvalidInput):
        return str(error), False
    if isinstance(error, OSError):
        advice = remedy(error, "check it and run again")
        return f"it cannot be read ({reason(error)}); expected a readable file; {advice}", True
    if isinstance(error, MemoryError):
        return "not enough memory; expected enough for one input; use fewer --workers and run again", True
    return f"reading it failed ({type(error).__name__}: {cut(error)}); expected an intact file; check it", False


def current_source(record: Record) -> Source:
    """The source of `record` with its current size and time.

    Raises InvalidInput where it cannot become a sample, OSError where it cannot be reached.
    """
    if record.refusal:
        raise InvalidInput(*record.refusal)
    try:
        record.id.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("its name is not valid UTF-8", "a name that every system can read", "rename it") from error
    for path in record.source.paths:
        path.stat()
        if not path.is_file():  # opening a pipe or a device could block forever
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise InvalidInput(f"{path.name!r} is {kind}", "a file", "rename it, or move it out of SOURCE")
    return observe_readable(record.source)
