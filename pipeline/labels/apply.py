"""Apply a labels CSV: records get labels and patients; every row that could not be used is reported."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache.schema import MAX_ID_BYTES, UNLABELLED, Entry, composed
from cache.text import listed, shown
from pipeline.errors import PipelineError
from pipeline.labels.classes import Classes, whole_number
from pipeline.labels.columns import ColumnChoice, Columns, shown_header
from pipeline.labels.scan_names import ScanNames
from pipeline.labels.sheet import Row, Sheet, read_sheet
from pipeline.sources.records import Record

NO_PATIENT = {"", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "none", "null", "-", "--", "?"}
NO_SCAN = "no scan has this name"


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row, or several rows for one scan, that could not be used: `where` in the CSV, its file name, the `problem`."""

    where: str
    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.file}: {self.problem}"


@dataclass
class LabelReport:
    """How a labels CSV was read; empty where a run has none.

    Arguments:
        columns: the columns used.
        wrong: rows that could not be used.
        unlabelled: files without a row.
        labelled: the number of scans that got a label.
        patients: the number of patients in the CSV; where it has no such column, of those the cache has already.
    """

    columns: Columns | None = None
    wrong: list[WrongRow] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    labelled: int = 0
    patients: int = 0

    @property
    def patient_column(self) -> str:
        return self.columns.patient_name if self.columns else ""


def apply_labels(
    records: Sequence[Record],
    path: Path,
    class_names: Sequence[str],
    choice: ColumnChoice | None = None,
    *,
    by_position: bool = False,
    others: Sequence[Record] = (),
) -> tuple[list[Record], LabelReport]:
    """`records`, then `others`, with the labels and patients of the CSV in `path`; and a report of how it was read.

    `choice` and `by_position` are those of `find_columns`. Labels are numbers from 1 or class names. A scan without a
    row, or with two different labels, stays unlabelled. Groups are the patients; a scan keeps its group where its row
    or the CSV has no patient. `others` are samples of the cache that are not below SOURCE: they are unchanged unless a
    row names one of them and no scan of `records`. Raises PipelineError where the file is not such a table, counts
    labels from 0, or has no row that names a scan.
    """
    sheet, classes = read_sheet(path, choice, by_position), Classes(class_names)
    names, other_names = ScanNames(records), ScanNames(others)
    _check_header(sheet, names)
    _check_zeros(sheet, classes)
    report = LabelReport(sheet.columns)
    rows_of, named = _match(sheet, lambda file: names.of(file) or other_names.of(file), classes, report)
    if not named:
        raise _no_match(sheet, [*records, *others])
    labelled = [_labelled(record, rows_of.get(record.id, []), classes, sheet, report) for record in records]
    labelled += [
        _labelled(record, rows_of[record.id], classes, sheet, report) if record.id in rows_of else record
        for record in others
    ]
    report.unlabelled = [next(iter(record.source.files), record.id) for record in records if record.id not in named]
    report.labelled = sum(record.label != UNLABELLED for record in labelled if record.id in rows_of)
    report.patients = len({record.group for record in labelled if record.group != record.id})
    return labelled, report


def _match(
    sheet: Sheet, find: Callable[[str], list[str]], classes: Classes, report: LabelReport
) -> tuple[dict[str, list[Row]], set[str]]:
    """The usable rows by the id of the scan that they name, and the ids that any row names; adds to `report`."""
    rows_of: dict[str, list[Row]] = defaultdict(list)
    named: set[str] = set()
    for row in sheet.rows:
        ids = find(row.file)
        named.update(ids)
        if problem := _problem(row, len(ids), classes):
            report.wrong.append(WrongRow(f"{sheet.path.name} line {row.line}", shown(row.file), problem))
        else:
            rows_of[ids[0]].append(row)
    return rows_of, named


def _labelled(record: Record, rows: list[Row], classes: Classes, sheet: Sheet, report: LabelReport) -> Record:
    """`record` with the label and group that its `rows` give."""
    label, patient = _decide(rows, classes, sheet.path.name, report)
    if patient is None or sheet.columns.patient is None:
        return replace(record, label=label)
    return replace(record, label=label, group=patient or record.id)


def _problem(row: Row, scans: int, classes: Classes) -> str:
    """Why a row cannot be used; empty where it can."""
    if scans != 1:
        return f"{scans} scans have this name; give the path below SOURCE" if scans else NO_SCAN
    if row.surplus:
        cells = "1 more cell" if row.surplus == 1 else f"{row.surplus} more cells"
        return f"{cells} than the header; expected as many, and no comma inside a number"
    if len(composed(row.patient).encode()) > MAX_ID_BYTES:
        return f"patient {shown(row.patient)}, expected at most {MAX_ID_BYTES} bytes"
    if classes.of(row.label) is None:
        return f"label {shown(row.label)}, expected {classes.expected}"
    return ""


def _decide(rows: list[Row], classes: Classes, name: str, report: LabelReport) -> tuple[int, str | None]:
    """(label, patient) of one scan from the rows that name it; it stays unlabelled where two rows disagree.

    The patient is "" where the rows say that there is none, and None where they disagree or there are no rows.
    """
    labels = {classes.of(row.label) for row in rows}
    patients = {"" if row.patient.casefold() in NO_PATIENT else composed(row.patient) for row in rows}
    agree = len(labels) == len(patients) == 1
    if len(rows) > 1:
        outcome = (
            "with the same label and patient" if agree else "with different labels or patients: it stays unlabelled"
        )
        lines = ", ".join(str(row.line) for row in rows)
        problem = f"{len(rows)} rows {outcome}"
        report.wrong.append(WrongRow(f"{name} lines {lines}", shown(rows[0].file), problem))
    label = labels.pop() if agree else None
    return (UNLABELLED if label is None else label), patients.pop() if len(patients) == 1 else None


# -- CSV files that cannot be used ------------------------------------------------------------------------------------


def _check_header(sheet: Sheet, names: ScanNames) -> None:
    """Raise where columns were found by position and the first line is a row instead of a header."""
    columns = sheet.columns
    is_row = whole_number(columns.header[columns.label]) is not None or names.of(columns.header[columns.file])
    if columns.by_position and is_row:
        raise PipelineError(
            f"labels {sheet.path} begin with {shown_header(columns.header)}, which is a row, not a header; "
            "expected a first line such as FileName,TypeOfTB"
        )


def _check_zeros(sheet: Sheet, classes: Classes) -> None:
    zeros = [row for row in sheet.rows if classes.counts_from_zero(row.label)]
    if zeros:
        raise PipelineError(
            f"labels {sheet.path} have label {shown(zeros[0].label)} in {_rows(len(zeros))}, the first is line "
            f"{zeros[0].line} ({shown(zeros[0].file)}); labels count from 1: add 1 to every label, write class names "
            "instead, or choose another column with --label-column"
        )


def check_keeps_labels(report: LabelReport, path: Path, entries: Iterable[Entry]) -> None:
    """Raise where a CSV labels no scan and would thereby remove the labels that `entries` have."""
    labelled = sum(entry.state == "complete" and entry.label != UNLABELLED for entry in entries)
    if labelled and not report.labelled:
        raise PipelineError(
            f"no row of labels {path} gives a label, but the cache has {labelled} labelled samples; the first problem: "
            f"{report.wrong[0]}; correct the CSV"
        )


def _no_match(sheet: Sheet, records: Sequence[Record]) -> PipelineError:
    column = sheet.columns.name(sheet.columns.file)
    if not sheet.rows:
        return PipelineError(f"labels {sheet.path} have a header and no rows; expected one row for each scan")
    names = listed(shown(row.file) for row in sheet.rows)
    example = (
        f"names such as {shown(records[len(records) // 2].id)}" if records else "scans to label, but there are none"
    )
    return PipelineError(
        f"no row of labels {sheet.path} names a scan; its column {shown(column)} holds {names}; expected {example}; "
        "choose another column with --file-column, or another CSV"
    )


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"
