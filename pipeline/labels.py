"""A labels CSV → labelled records, and what in it cannot be followed."""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from cache.schema import UNLABELLED
from pipeline.errors import PipelineError
from pipeline.sources import Record


@dataclass
class LabelReport:
    """What a labels CSV said that cannot be followed (`wrong`), and files it does not name (`unlabelled`)."""

    wrong: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)


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
        usable = len(header) >= 2 and _label(header[1], 10**9) is None and patient != 1
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
