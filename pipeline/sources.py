"""A folder and a labels CSV → records: what there is to do, before any file is opened.

Only names and `stat` are looked at. Everything below SOURCE that looks like an input gets a record or an exclusion;
nothing is dropped.
"""

import csv
import os
import unicodedata
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
    Raises PipelineError where a folder cannot be listed, and where `root` is no folder or lies in `skip`.
    """
    if not root.is_dir():
        raise PipelineError(f"SOURCE {root} is not a folder; give the folder that holds the files")
    if skip and root.is_relative_to(skip):
        raise PipelineError(f"SOURCE {root} lies in CACHE {skip}; give a CACHE outside SOURCE")
    found = Found()
    folders = [""]  # still to be listed; `os.walk` recurses before Python 3.12, and fails a thousand folders deep
    while folders:
        below = folders.pop()
        for item in _listed(root / below, skip):
            file = below + item.name
            if item.is_dir(follow_symlinks=False):
                folders.append(f"{file}/")
            if reason := _left_out(item, file):
                found.excluded[file] = reason
            elif item.name.lower().endswith(endings) and not is_hidden(file):
                found.files.append(file)
    return found


def _left_out(item: os.DirEntry[str], file: str) -> str:
    """Why what is at `file` is excluded; empty for what is not, and for folders, whose files are looked at singly."""
    if item.is_dir(follow_symlinks=False):
        return ""
    if is_hidden(file):
        return HIDDEN
    return LINKED if item.is_symlink() and _is_folder(Path(item.path)) else ""


def _listed(folder: Path, skip: Path | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return sorted((item for item in items if item.path != str(skip)), key=lambda item: item.name)
    except OSError as error:
        raise PipelineError(f"cannot list {folder}: {error.strerror}; give a SOURCE that can be read whole") from error


def _is_folder(link: Path) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a link into what may not be looked at
        return False


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

    Columns `FileName,TypeOfTB[,Patient]`; a FileName is a file's path below SOURCE, or its bare name where no other
    file has it. Values count from 1 to `classes`. `any_header` takes the first two columns whatever they are called.
    A scan named twice with two labels stays unlabelled. Raises PipelineError where the file cannot be read as such a
    table.
    """
    report = LabelReport()
    owners = _Owners(records)
    rows_of: dict[str, list[_Row]] = defaultdict(list)
    named: set[str] = set()
    for row in _rows(path, any_header):
        ids = owners.of(row.file)
        named.update(ids)
        if problem := _problem(row, len(ids), classes):
            report.wrong.append(f"{path.name} line {row.line}: {_shown(row.file)}: {problem}")
        else:
            rows_of[ids[0]].append(row)
    labelled = []
    for item in records:
        label, patient = _decide(rows_of.get(item.id, []), classes, path.name, report)
        labelled.append(replace(item, label=label, group=patient or item.id))
        if item.id not in named:
            report.unlabelled.append(item.source.files[0])
    return labelled, report


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    file: str
    label: str
    patient: str
    surplus: int = 0  # cells beyond those of the header


class _Owners:
    """Which records a FileName may mean."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for item in records:
            for file in map(_composed, item.source.files):
                self._by_path[file].append(item.id)
                self._by_name[PurePosixPath(file).name].append(item.id)

    def of(self, file: str) -> list[str]:
        """The ids of the files of that path below SOURCE, else of that bare name."""
        return self._by_path.get(_composed(file)) or self._by_name.get(_composed(file), [])


def _composed(name: str) -> str:
    """`name` with accents in one code point each: macOS takes them apart, spreadsheets do not."""
    return unicodedata.normalize("NFC", name)


def _problem(row: _Row, owners: int, classes: int) -> str:
    """Why a row cannot be followed; empty where it can."""
    if owners != 1:
        return f"{owners} files have this name; give the path below SOURCE" if owners else "no such file"
    if row.surplus:
        return f"{row.surplus} more cells than the header; expected as many, and no comma inside a number"
    if _label(row.label, classes) is None:
        return f"label {_shown(row.label)}, expected 1 to {classes}"
    return ""


def _decide(rows: list[_Row], classes: int, name: str, report: LabelReport) -> tuple[int, str]:
    """(label, patient) of one scan from the rows that name it; two that disagree leave it unlabelled."""
    answers = {(_label(row.label, classes), row.patient) for row in rows}
    if len(rows) > 1:
        outcome = "alike" if len(answers) == 1 else "not alike: it stays unlabelled"
        lines = ", ".join(str(row.line) for row in rows)
        report.wrong.append(f"{name} lines {lines}: {_shown(rows[0].file)} is there {len(rows)} times, {outcome}")
    if len(answers) != 1:
        return UNLABELLED, ""
    label, patient = answers.pop()
    return (UNLABELLED if label is None else label), patient


def _rows(path: Path, any_header: bool) -> Iterator[_Row]:
    """The rows of a labels CSV as text. Raises PipelineError."""
    expected = "the columns FileName,TypeOfTB and optionally Patient"
    if any_header:
        expected = "a header, then a file name and a label in each line"
    expected = f"expected {expected}, with commas between them, in UTF-8"
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            filled = ([cell.strip() for cell in row] for row in reader if any(map(str.strip, row)))
            header = next(filled, [])
            columns = _columns(header, any_header)
            if columns is None:
                raise PipelineError(f"labels {path} begin with {_shown(','.join(header))}; {expected}")
            for cells in filled:
                line = reader.line_num
                name, label, patient = (cells[column] if 0 <= column < len(cells) else "" for column in columns)
                yield _Row(line, name, label, patient, surplus=sum(map(bool, cells[len(header) :])))
    except OSError as error:
        raise PipelineError(f"cannot read labels {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise PipelineError(f"labels {path} cannot be read after line {line} ({error}); {expected}") from error


def _columns(header: list[str], any_header: bool) -> tuple[int, int, int] | None:
    names = [name.lower() for name in header]
    patient = names.index("patient") if "patient" in names else -1
    if any_header:  # a number there is a label: the header was left out
        usable = len(header) >= 2 and _label(header[1], 10**9) is None
        return (0, 1, patient if patient > 1 else -1) if usable else None
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


def _shown(text: str, most: int = 80) -> str:
    """`text` quoted, cut where it is too long for a message."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


ENDINGS = {"ct": SCAN_ENDINGS}
FINDERS = {"ct": find_scans}
CLASS_NAMES = {"ct": TUBERCULOSIS_TYPES}
