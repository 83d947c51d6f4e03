"""A folder and a labels CSV → records: what there is to do, before any file is opened.

Only names and `stat` are looked at. Everything below SOURCE that looks like an input gets a record or an exclusion;
nothing is dropped.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

from cache.schema import UNLABELLED, Source
from pipeline.errors import PipelineError

SCAN_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
HIDDEN = "hidden or system file"
LINKED = "link to a folder, not followed; give the folder itself as SOURCE"
OS_FILES = {"thumbs.db", "desktop.ini"}
OS_FOLDERS = {"__macosx"}
TUBERCULOSIS_TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")


@dataclass(frozen=True, slots=True)
class Record:
    """One input: its id, its files as they are now, its label, and what must stay together with it in a split."""

    id: str
    source: Source
    label: int = UNLABELLED
    group: str = ""


@dataclass
class Inputs:
    """What a SOURCE holds. `excluded` maps the path of each file left out by request to the reason."""

    records: list[Record] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)


@dataclass
class LabelReport:
    """What a labels CSV said that cannot be followed (`wrong`), and files it does not name (`unlabelled`)."""

    wrong: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)


def find_scans(root: Path, skip: Path | None = None) -> Inputs:
    """Every `.nii`, `.nii.gz` and `.hdr`/`.img` pair below `root`, any depth and case, in the order of their ids.

    A lone half of a pair is a record too, to be quarantined with its reason. `skip` (the cache) is not entered.
    Raises PipelineError where `root` is no folder or two inputs would get one id.
    """
    found = walk(root, SCAN_ENDINGS, skip)
    pairs: dict[str, dict[str, str]] = defaultdict(dict)
    files: list[tuple[str, tuple[str, ...]]] = []
    for file in found.files:
        stem, ending = split_ending(file, SCAN_ENDINGS)
        if ending in (".hdr", ".img"):
            if ending in pairs[stem]:
                raise _one_id(stem, pairs[stem][ending], file, root)
            pairs[stem][ending] = file
        else:
            files.append((stem, (file,)))
    files += [(stem, tuple(halves[ending] for ending in sorted(halves))) for stem, halves in pairs.items()]
    records = sorted((record(root, *item) for item in files), key=lambda item: item.id)
    for first, second in pairwise(records):
        if first.id == second.id:
            raise _one_id(first.id, first.source.files[0], second.source.files[0], root)
    return Inputs(records, found.excluded)


@dataclass
class Found:
    """POSIX paths below a folder: `files` that end as inputs do, and what is `excluded`, path → reason."""

    files: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)


def walk(root: Path, endings: tuple[str, ...], skip: Path | None = None) -> Found:
    """Look through `root`, except below `skip`, for names with one of `endings` in any case.

    Links to files are followed, links to folders are not entered, so that a loop of links ends; they are excluded by
    name, as hidden and system files are. A folder named like an input is listed like one: opening it tells.
    Raises PipelineError where a folder cannot be listed.
    """
    if not root.is_dir():
        raise PipelineError(f"SOURCE {root} is not a folder; give the folder that holds the files")
    found = Found()
    for folder, folders, names in os.walk(root, onerror=_refuse):
        here = Path(folder)
        folders[:] = [name for name in folders if here / name != skip]
        below = here.relative_to(root)
        hidden = {name for name in names if is_hidden((below / name).as_posix())}
        inputs = [name for name in (*folders, *names) if name.lower().endswith(endings) and name not in hidden]
        links = [name for name in folders if name not in inputs and (here / name).is_symlink()]
        found.files += [(below / name).as_posix() for name in inputs]
        found.excluded |= {(below / name).as_posix(): HIDDEN for name in hidden}
        found.excluded |= {(below / name).as_posix(): LINKED for name in links}
    return found


def _refuse(error: OSError) -> None:
    raise PipelineError(f"cannot list {error.filename}: {error.strerror}; give a SOURCE that can be read whole")


def is_hidden(file: str) -> bool:
    """True for what users do not mean as input: dot files and files in dot folders, and what systems leave behind."""
    *folders, name = PurePosixPath(file).parts
    hidden = any(part.startswith(".") or part.lower() in OS_FOLDERS for part in (*folders, name))
    return hidden or name.lower() in OS_FILES


def split_ending(file: str, endings: Iterable[str]) -> tuple[str, str]:
    """`file` as (path without ending, ending in lower case); the ending is "" where it is none of `endings`."""
    for ending in endings:
        if file.lower().endswith(ending):
            return file[: -len(ending)], ending
    return file, ""


def record(root: Path, name: str, files: tuple[str, ...], label: int = UNLABELLED, group: str = "") -> Record:
    """The record of the sample `name` made of `files` below `root`, as they are now; 0 bytes where they are gone."""
    return Record(name, observe(Source(str(root), files)), label, group or name)


def observe(source: Source) -> Source:
    """`source` with the present sizes and times of its files; -1 bytes where one cannot be reached."""
    try:
        stats = [path.stat() for path in source.paths]
    except OSError:
        return replace(source, size=-1, mtime_ns=-1)
    return replace(source, size=sum(s.st_size for s in stats), mtime_ns=max((s.st_mtime_ns for s in stats), default=0))


def _one_id(name: str, first: str, second: str, root: Path) -> PipelineError:
    return PipelineError(f"{first!r} and {second!r} below {root} would both get the id {name!r}; rename or remove one")


# -- labels ------------------------------------------------------------------------------------------------------------


def apply_labels(
    records: Sequence[Record], path: Path, classes: int, *, any_header: bool = False
) -> tuple[list[Record], LabelReport]:
    """`records` with the labels and patients of the CSV in `path`, and what in it was wrong, by name and line.

    Columns `FileName,TypeOfTB[,Patient]`; a FileName is a file's name, or its path below SOURCE. Values count from 1
    to `classes`. `any_header` takes the first two columns whatever they are called. A scan named twice with two
    labels stays unlabelled. Raises PipelineError where the file cannot be read as such a table.
    """
    report = LabelReport()
    owners = _owners(records)
    rows_of: dict[str, list[_Row]] = defaultdict(list)
    for row in _rows(path, any_header):
        ids = owners.get(row.file, [])
        if len(ids) != 1:
            problem = f"{len(ids)} files have this name; give the path below SOURCE" if ids else "no such file"
            report.wrong.append(f"{path.name} line {row.line}: {row.file!r}: {problem}")
        elif _label(row.label, classes) is None:
            report.wrong.append(
                f"{path.name} line {row.line}: {row.file!r}: label {row.label!r}, expected 1 to {classes}"
            )
        else:
            rows_of[ids[0]].append(row)
    labelled = []
    for item in records:
        label, patient = _decide(item, rows_of.get(item.id, []), classes, path.name, report)
        labelled.append(replace(item, label=label, group=patient or item.id))
        if label == UNLABELLED:
            report.unlabelled.append(item.source.files[0])
    return labelled, report


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    file: str
    label: str
    patient: str


def _owners(records: Iterable[Record]) -> dict[str, list[str]]:
    """Ids by file name and by path below SOURCE; more than one where a bare name is not enough."""
    owners: dict[str, list[str]] = defaultdict(list)
    for item in records:
        for file in item.source.files:
            for name in {file, PurePosixPath(file).name}:
                owners[name].append(item.id)
    return owners


def _decide(item: Record, rows: list[_Row], classes: int, name: str, report: LabelReport) -> tuple[int, str]:
    """(label, patient) of one scan from the rows that name it; two that disagree leave it unlabelled."""
    answers = {(_label(row.label, classes), row.patient) for row in rows}
    if len(rows) > 1:
        outcome = "alike" if len(answers) == 1 else "not alike: it stays unlabelled"
        lines = ", ".join(str(row.line) for row in rows)
        report.wrong.append(f"{name} lines {lines}: {rows[0].file!r} is there {len(rows)} times, {outcome}")
    if len(answers) != 1:
        return UNLABELLED, ""
    label, patient = answers.pop()
    return (UNLABELLED if label is None else label), patient


def _rows(path: Path, any_header: bool) -> Iterator[_Row]:
    """The rows of a labels CSV as text. Raises PipelineError."""
    expected = "expected the columns FileName,TypeOfTB and optionally Patient"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            columns = _columns(header, any_header)
            if columns is None:
                raise PipelineError(f"labels {path} begin with {','.join(header)[:80]!r}; {expected}")
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    cells += [""] * (len(header) - len(cells))
                    yield _Row(reader.line_num, *(cells[column] if column >= 0 else "" for column in columns))
    except OSError as error:
        raise PipelineError(f"cannot read labels {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(f"labels {path} are not a CSV in UTF-8 ({error}); {expected}") from error


def _columns(header: list[str], any_header: bool) -> tuple[int, int, int] | None:
    names = [name.lower() for name in header]
    patient = names.index("patient") if "patient" in names else -1
    if any_header:
        return (0, 1, patient if patient > 1 else -1) if len(header) >= 2 else None
    if "filename" in names and "typeoftb" in names:
        return names.index("filename"), names.index("typeoftb"), patient
    return None


def _label(text: str, classes: int) -> int | None:
    """Index from 0 of a label counted from 1, or None. "3.0", as spreadsheets write it, is 3."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) - 1 if value.is_integer() and 1 <= value <= classes else None


FINDERS = {"ct": find_scans}
CLASS_NAMES = {"ct": TUBERCULOSIS_TYPES}
