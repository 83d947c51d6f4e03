"""Records: one for each input below SOURCE, with the current state of its files.

Only names and `stat` are used here. Finding the inputs is the job of each format in `pipeline.sources.formats`.
"""

import errno
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cache.oserrors import ABSENT, reason
from cache.schema import UNLABELLED, Source
from pipeline.sources.contents import ANNEX


@dataclass(frozen=True, slots=True)
class Record:
    """One input below SOURCE.

    Arguments:
        id: its name in the cache.
        source: its files, with their current sizes and times.
        label: its class, counted from 0; -1 where unknown.
        group: inputs of one group (a patient, a scene) stay on one side of a split; by default the id.
        note: goes into the sample's record.
        refusal: why it cannot become a sample, as the arguments of `InvalidInput`, if its path already shows that.
        claimed: the id it would have if no other file would get the same one.
        unreadable: why the system could not check that its files exist; empty where it could.
    """

    id: str
    source: Source
    label: int = UNLABELLED
    group: str = ""
    note: str = ""
    refusal: tuple[str, str, str] | None = None
    claimed: str = ""
    unreadable: str = ""


@dataclass
class Inputs:
    """The contents of SOURCE.

    Arguments:
        records: one for each input, in the order of their ids.
        excluded: path of each file or folder that is not read → the reason.
        class_names: the classes in label order, where folders name them; otherwise empty.
        others: number of files that are not inputs and do not look like inputs, by ending.
    """

    records: list[Record] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    others: Counter[str] = field(default_factory=Counter)


class Finder(Protocol):
    """Lists the inputs of one format below a folder."""

    def __call__(
        self,
        root: Path,
        skip: Path | None = None,
        class_names: Sequence[str] | None = None,
        cached_classes: Sequence[str] = (),
        max_files: int | None = None,
    ) -> Inputs:
        """Every input below `root`, at any depth; `skip` (the cache) is not entered.

        `class_names` are the classes that the user chose; `cached_classes`, those of the cache, may lack clips here.
        Raises PipelineError where `root` is not a folder, has more than `max_files` files and folders, or where a
        chosen class does not exist.
        """
        ...


def make_record(root: Path, name: str, files: tuple[str, ...], label: int = UNLABELLED, group: str = "") -> Record:
    """The record of the sample `name` with `files` below `root` in their current state; size -1 if absent."""
    source, unreadable = Source(str(root), files), ""
    try:
        source = observe(source)
    except OSError as error:
        source, unreadable = source.replace(size=-1, mtime_ns=-1), reason(error)
    refusal = None if source.size >= 0 or unreadable else _annex_refusal(source)
    return Record(name, source, label, group or name, refusal=refusal, unreadable=unreadable)


def _annex_refusal(source: Source) -> tuple[str, str, str] | None:
    """The refusal of a git-annex link whose contents are not on this machine; None for other files."""
    for path in source.paths:
        with suppress(OSError):
            if "/annex/objects/" in os.readlink(path):  # noqa: PTH115 - a name, not a path to follow
                return ANNEX.name, "the file itself", ANNEX.remedy
    return None


def observe(source: Source) -> Source:
    """`source` with the current sizes and times of its files; size -1 where one does not exist.

    Raises OSError where the system cannot check that.
    """
    try:
        return observe_readable(source)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in ABSENT | {errno.ENAMETOOLONG}:
            raise
        return source.replace(size=-1, mtime_ns=-1)


def observe_readable(source: Source) -> Source:
    """Like `observe`, but raises OSError or ValueError also where a file does not exist."""
    stats = [os.stat(f"{source.root}/{file}") for file in source.files]  # noqa: PTH116 - for 100,000 files
    return source.replace(size=sum(s.st_size for s in stats), mtime_ns=sum(s.st_mtime_ns for s in stats))


def split_ending(file: str, endings: Iterable[str]) -> tuple[str, str]:
    """`file` as (path without ending, ending in lower case); the ending is "" where it is none of `endings`."""
    for ending in endings:
        if file.lower().endswith(ending):
            return file[: -len(ending)], ending
    return file, ""
