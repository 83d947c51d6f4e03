"""Read a labels CSV: its columns and rows as text, in the encodings and with the separators of spreadsheets."""

import csv
import io
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cache.confined import UnexpectedFile, open_regular
from cache.oserrors import reason, remedy
from pipeline.errors import PipelineError
from pipeline.labels.columns import ColumnChoice, Columns, UnclearHeader, find_columns, known_names

SEPARATORS = (",", ";", "\t")
MAX_BYTES, MAX_ROWS = 1 << 26, 250_000  # of a CSV; all rows are in memory at once
MAX_ROW = 1 << 20  # characters
EXPORT = "save the spreadsheet as `CSV UTF-8` and give that file"
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # the first bytes of .xlsx and .ods, and of .xls
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """The used cells of one row, without surrounding space; `line` is the last line of the row, counted from 1."""

    line: int
    file: str
    label: str
    patient: str
    surplus: int = 0  # filled cells beyond those of the header


@dataclass(frozen=True)
class Sheet:
    """A labels CSV. `rows` are in the order of the file, without empty lines."""

    path: Path
    columns: Columns
    rows: tuple[Row, ...]


def read_sheet(path: Path, choice: ColumnChoice | None = None, by_position: bool = False) -> Sheet:
    """The table in `path`: separated by commas, semicolons or tabs, in UTF-8, or in UTF-16 with a byte order mark.

    `choice` and `by_position` are those of `find_columns`. Raises PipelineError where the file is not such a table.
    """
    choice = choice or ColumnChoice()
    encoding = _encoding(path)
    separator = max(SEPARATORS, key=lambda candidate: _header_score(path, encoding, candidate, choice))
    with _table(path, encoding, separator) as table:
        _, header = next(table, (0, []))
        while header and not header[-1]:
            header.pop()
        try:
            columns = find_columns(header, choice, by_position)
        except UnclearHeader as error:
            raise PipelineError(f"labels {path} have {error}") from error
        rows = tuple(_row(line, cells, columns) for line, cells in islice(table, MAX_ROWS + 1))
    if len(rows) > MAX_ROWS:
        raise PipelineError(f"labels {path} have more than {MAX_ROWS} rows; keep only those of the scans")
    return Sheet(path, columns, rows)


def _row(line: int, cells: list[str], columns: Columns) -> Row:
    file, label, patient = (
        cells[column] if column is not None and column < len(cells) else ""
        for column in (columns.file, columns.label, columns.patient)
    )
    return Row(line, file, label, patient, surplus=sum(map(bool, cells[len(columns.header) :])))


def _header_score(path: Path, encoding: str, separator: str, choice: ColumnChoice) -> tuple[int, int]:
    """How much the first line looks like a header with this separator: (known column names, cells)."""
    try:
        with _table(path, encoding, separator) as table:
            _, header = next(table, (0, []))
    except PipelineError as error:
        if isinstance(error.__cause__, OSError):  # the separator is not the reason
            raise
        return -1, 0  # if every separator fails, reading with the best one reports it
    return known_names(header, choice), len(header)


@contextmanager
def _table(path: Path, encoding: str, separator: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """(line, cells) of every line that is not empty. Raises PipelineError, also while the table is read."""
    line = 0

    def rows() -> Generator[tuple[int, list[str]], None, None]:
        nonlocal line
        with io.TextIOWrapper(open_regular(path, MAX_BYTES), newline="", encoding=encoding) as file:
            lines = _Lines(file)
            reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=True)
            for cells in reader:
                if any(map(str.strip, cells)) and not (line == 0 and _is_hint(cells, separator)):
                    yield reader.line_num, [cell.strip() for cell in cells]
                line, lines.row = reader.line_num, 0

    try:
        with closing(rows()) as table:
            yield table
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeError as error:
        raise PipelineError(f"labels {path} are not text in UTF-8 ({error.args[-1]}); {EXPORT}") from error
    except csv.Error as error:
        raise PipelineError(f"labels {path} cannot be read after line {line} ({error}); {EXPORT}") from error


def _is_hint(cells: list[str], separator: str) -> bool:
    """Whether a first line, already split by `separator`, is Excel's `sep=;`."""
    return separator.join(cells).strip().lower() == f"sep={separator}".strip()


class _Lines:
    """The lines of a text file. Raises csv.Error for lines that no CSV has.

    `row` counts the characters of the current row, which may have several lines.
    """

    def __init__(self, file: io.TextIOBase) -> None:
        self._file, self.row = file, 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MAX_ROW + 1):
            self.row += len(line)
            if self.row > MAX_ROW:
                raise csv.Error(f"a row of more than {MAX_ROW} characters")
            if "\0" in line:
                raise csv.Error("it holds a zero byte, so it is not text")
            yield line


def _encoding(path: Path) -> str:
    """The encoding, from the first bytes of the file. Raises PipelineError where it is too large or not a text file."""
    try:
        with open_regular(path) as file:
            start, size = file.read(8), file.seek(0, io.SEEK_END)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if start.startswith(SPREADSHEETS):
        raise PipelineError(
            f"labels {path} is a spreadsheet or an archive, not a CSV; open it in a spreadsheet, {EXPORT}"
        )
    if size > MAX_BYTES:
        raise PipelineError(
            f"labels {path} has {size} bytes, at most {MAX_BYTES} are read; keep only the columns of file names, "
            "labels and patients"
        )
    return "utf-16" if start.startswith(UTF_16) else "utf-8-sig"


def _unreadable(path: Path, error: OSError | ValueError) -> PipelineError:
    if isinstance(error, UnexpectedFile):
        return PipelineError(f"cannot read labels {path}: {error}; give a CSV with columns such as FileName,TypeOfTB")
    if isinstance(error, OSError):
        advice = remedy(error, "check the path and its permissions")
        return PipelineError(f"cannot read labels {path}: {reason(error)}; {advice}")
    return PipelineError(f"cannot read labels {path}: {error}; check the path and its permissions")
