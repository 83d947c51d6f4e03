"""A labels CSV → labelled records, and an account of every row that could not be followed."""

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
    """A row, or several that name one scan, that could not be followed: `where` it is, its file name, and why."""

    where: str
    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.file}: {self.problem}"


@dataclass
class LabelReport:
    """How a labels CSV was understood; all empty where a run has none.

    `wrong` are rows that could not be followed; `unlabelled` files without a row; `labelled` counts scans that got a
    label; `patients` counts those that the sheet names, or where it has no such column those known from before.
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
    """`records`, then `others`, with the labels and patients of the CSV in `path`; and how that was understood.

    `choice` and `by_position` say how columns are found (`find_columns`). Labels are numbers from 1 or class names; a
    scan named twice with two labels stays unlabelled, as does one without a row. Groups are the patients; a scan keeps
    its group where its row, or the sheet, says nothing of patients. `others` are samples of the cache that are not
    below SOURCE: they stay as they are unless a row names one, and no scan of `records`. Raises PipelineError where the
    file cannot be read as such a table, where it counts labels from 0, and where none of its rows names a scan.
    """
    sheet, classes = read_sheet(path, choice, by_position), Classes(class_names)
    names, other_names = ScanNames(records), ScanNames(others)
    _refuse_no_header(sheet, names)
    _refuse_zeros(sheet, classes)
    report = LabelReport(sheet.columns)
    rows_of, named = _match(sheet, lambda file: names.of(file) or other_names.of(file), classes, report)
    if not named:
        raise _nothing_fits(sheet, [*records, *others])
    labelled = [_labelled(item, rows_of.get(item.id, []), classes, sheet, report) for item in records]
    rest = [
        _labelled(item, rows_of[item.id], classes, sheet, report) if item.id in rows_of else item for item in others
    ]
    report.unlabelled = [next(iter(item.source.files), item.id) for item in records if item.id not in named]
    report.labelled = sum(item.label != UNLABELLED for item in (*labelled, *rest) if item.id in rows_of)
    report.patients = len({item.group for item in (*labelled, *rest) if item.group != item.id})
    return labelled + rest, report


def _match(
    sheet: Sheet, find: Callable[[str], list[str]], classes: Classes, report: LabelReport
) -> tuple[dict[str, list[Row]], set[str]]:
    """The rows to follow by the id of the scan that they name, and the ids that any row names; adds to `report`."""
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


def _labelled(item: Record, rows: list[Row], classes: Classes, sheet: Sheet, report: LabelReport) -> Record:
    """`item` as `rows` say."""
    label, patient = _decide(rows, classes, sheet.path.name, report)
    if patient is None or sheet.columns.patient is None:
        return replace(item, label=label)
    return replace(item, label=label, group=patient or item.id)


def _problem(row: Row, scans: int, classes: Classes) -> str:
    """Why a row cannot be followed; empty where it can."""
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
    """(label, patient) of one scan from the rows that name it; two that disagree leave it unlabelled.

    The patient is "" where the rows say that there is none, and None where they say nothing that can be relied on.
    """
    labels = {classes.of(row.label) for row in rows}
    patients = {"" if row.patient.casefold() in NO_PATIENT else composed(row.patient) for row in rows}
    alike = len(labels) == len(patients) == 1
    if len(rows) > 1:
        outcome = "that say the same" if alike else "with different labels or patients: it stays unlabelled"
        lines = ", ".join(str(row.line) for row in rows)
        problem = f"{len(rows)} rows {outcome}"
        report.wrong.append(WrongRow(f"{name} lines {lines}", shown(rows[0].file), problem))
    label = labels.pop() if alike else None
    return (UNLABELLED if label is None else label), patients.pop() if len(patients) == 1 else None


# -- sheets that are refused whole -------------------------------------------------------------------------------------


def _refuse_no_header(sheet: Sheet, names: ScanNames) -> None:
    """Raise where columns were found by position and the header is a row of the table itself."""
    columns = sheet.columns
    is_row = whole_number(columns.header[columns.label]) is not None or names.of(columns.header[columns.file])
    if columns.by_position and is_row:
        raise PipelineError(
            f"labels {sheet.path} begin with {shown_header(columns.header)}, which is a row and not a header; "
            "expected a first line such as FileName,TypeOfTB"
        )


def _refuse_zeros(sheet: Sheet, classes: Classes) -> None:
    zeros = [row for row in sheet.rows if classes.counts_from_zero(row.label)]
    if zeros:
        raise PipelineError(
            f"labels {sheet.path} have label {shown(zeros[0].label)} in {_rows(len(zeros))}, the first is line "
            f"{zeros[0].line} ({shown(zeros[0].file)}); labels count from 1: add 1 to every label, write class names "
            "instead, or choose another column by --label-column"
        )


def refuse_wiping(report: LabelReport, path: Path, entries: Iterable[Entry]) -> None:
    """Raise where a sheet gives no scan a label, and would so take away those that `entries` have."""
    labelled = sum(entry.state == "complete" and entry.label != UNLABELLED for entry in entries)
    if labelled and not report.labelled:
        raise PipelineError(
            f"no row of labels {path} gives a label, and the cache has {labelled} labelled samples; the first problem: "
            f"{report.wrong[0]}; correct the CSV"
        )


def _nothing_fits(sheet: Sheet, records: Sequence[Record]) -> PipelineError:
    column = sheet.columns.name(sheet.columns.file)
    if not sheet.rows:
        return PipelineError(f"labels {sheet.path} have a header and no rows; expected a row for each scan")
    names = listed(shown(row.file) for row in sheet.rows)
    example = f"names such as {shown(records[len(records) // 2].id)}" if records else "scans to label, there are none"
    return PipelineError(
        f"no row of labels {sheet.path} names a scan; its column {shown(column)} holds {names}; expected {example}; "
        "choose another column by --file-column, or another CSV"
    )


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"
