"""A labels CSV → its columns and rows as text, in the encodings and with the separators that spreadsheets write."""

import csv
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.columns import ColumnChoice, Columns, UnclearHeader, find_columns, known_names
from pipeline.errors import PipelineError

SEPARATORS = (",", ";", "\t")
MAX_BYTES = 1 << 28
EXPORT = "save the sheet as `CSV UTF-8` and give that file"
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # how .xlsx and .ods begin, and .xls
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row that are used, without surrounding space; `line` counts from 1 and is the row's last."""

    line: int
    file: str
    label: str
    patient: str
    surplus: int = 0  # filled cells beyond those of the header


@dataclass(frozen=True)
class Sheet:
    """What a labels CSV holds. `rows` are in the order of the file, empty lines left out."""

    path: Path
    columns: Columns
    rows: tuple[Row, ...]


def read_sheet(path: Path, choice: ColumnChoice | None = None, by_position: bool = False) -> Sheet:
    """The table in `path`: separated by commas, semicolons or tabs, in UTF-8 or, with its mark, UTF-16.

    `choice` and `by_position` are those of `find_columns`. Raises PipelineError, whose message says what to do, for
    whatever cannot be read as such a table.
    """
    choice = choice or ColumnChoice()
    encoding = _encoding(path)
    separator = max(SEPARATORS, key=lambda each: _promise(path, encoding, each, choice))
    with _table(path, encoding, separator) as table:
        _, header = next(table, (0, []))
        while header and not header[-1]:
            header.pop()
        try:
            columns = find_columns(header, choice, by_position)
        except UnclearHeader as error:
            raise PipelineError(f"labels {path} have {error}") from error
        return Sheet(path, columns, tuple(_row(line, cells, columns) for line, cells in table))


def _row(line: int, cells: list[str], columns: Columns) -> Row:
    file, label, patient = (
        cells[column] if column is not None and column < len(cells) else ""
        for column in (columns.file, columns.label, columns.patient)
    )
    return Row(line, file, label, patient, surplus=sum(map(bool, cells[len(columns.header) :])))


def _promise(path: Path, encoding: str, separator: str, choice: ColumnChoice) -> tuple[int, int]:
    """How much like a header the first line looks with this separator: known names, then cells."""
    try:
        with _table(path, encoding, separator) as table:
            _, header = next(table, (0, []))
    except PipelineError:  # if it is so with the best of them too, that will say it
        return -1, 0
    return known_names(header, choice), len(header)


@contextmanager
def _table(path: Path, encoding: str, separator: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """(line, cells) of every line that is not empty. Raises PipelineError, also where the table is read."""
    line = 0

    def rows() -> Generator[tuple[int, list[str]], None, None]:
        nonlocal line
        with path.open(newline="", encoding=encoding) as file:
            reader = csv.reader(map(_sound_line, file), strict=True, delimiter=separator, skipinitialspace=True)
            for cells in reader:
                if any(map(str.strip, cells)) and not (line == 0 and _is_hint(cells, separator)):
                    yield reader.line_num, [cell.strip() for cell in cells]
                line = reader.line_num

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
    """Whether a first line is Excel's `sep=;`, split by `separator` already."""
    return separator.join(cells).strip().lower() == f"sep={separator}".strip()


def _sound_line(line: str) -> str:
    if "\0" in line:
        raise csv.Error("it holds a zero byte, which text does not")
    return line


def _encoding(path: Path) -> str:
    """The encoding by the file's first bytes. Raises PipelineError where it is not a file, too large or not a text."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe could wait for ever
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise PipelineError(f"labels {path} is {what}; expected a CSV file with columns such as FileName,TypeOfTB")
        with path.open("rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if start.startswith(SPREADSHEETS):
        raise PipelineError(
            f"labels {path} is a spreadsheet or an archive, not a CSV; open it in a spreadsheet, {EXPORT}"
        )
    if found.st_size > MAX_BYTES:
        raise PipelineError(
            f"labels {path} has {found.st_size} bytes, at most {MAX_BYTES} are read; leave only the columns of file "
            "names, labels and patients in it"
        )
    return "utf-16" if start.startswith(UTF_16) else "utf-8-sig"


def _unreadable(path: Path, error: OSError | ValueError) -> PipelineError:
    reason = error.strerror if isinstance(error, OSError) else error
    return PipelineError(f"cannot read labels {path}: {reason}; check the path and its permissions")
