"""Atomic, durable writing of the files of a run, and reading of untrusted ones."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache.confined import UnexpectedFile, read_regular
from cache.durable import replace_file
from cache.oserrors import ABSENT, cannot_read, reason, remedy
from trainer.errors import TrainerError

MAX_BYTES = 1 << 27  # of a JSON or CSV file: samples.json of a million samples has fewer
PARTIAL = "partial-"  # prefix of the name of a file that is being written


def replace(path: Path, data: bytes | memoryview, prefix: str = PARTIAL) -> None:
    """Write `data` to `path` as `replace_by` does."""
    replace_by(path, lambda partial: partial.write_bytes(data), prefix)


def replace_by(path: Path, write: Callable[[Path], Any], prefix: str = PARTIAL) -> None:
    """Replace `path` atomically and durably; `write` is called with a temporary path, whose name begins with `prefix`.

    Raises TrainerError where that fails; the earlier file is then unchanged.
    """
    partial = path.with_name(prefix + path.name)
    try:
        with replace_file(path, partial):
            write(partial)
    except OSError as error:
        advice = remedy(error, "check the path and its permissions")
        raise TrainerError(f"cannot write {path}: {reason(error)}; the earlier file is kept; {advice}") from error


def remove(path: Path) -> None:
    """Remove the file or link `path`, if it exists. Raises TrainerError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        advice = remedy(error, "delete it")
        raise TrainerError(f"cannot remove {path}: {reason(error)}; {advice}") from error


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    replace(path, dump_json(data))


def dump_json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """The JSON object in `path`, an untrusted file described by `expected`. Raises TrainerError."""
    return parse_json(path, read(path, expected), expected)


def read(path: Path, expected: str) -> bytes:
    """The bytes of `path`, an untrusted file described by `expected`. Raises TrainerError."""
    with reading(path, expected):
        return read_regular(path, MAX_BYTES)


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Convert an OSError to a TrainerError: `path` is another kind of file than `expected`, or cannot be read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, UnexpectedFile) or error.errno in ABSENT:
            raise TrainerError(f"{path}: {reason(error)}; expected {expected}") from error
        raise TrainerError(cannot_read(path, error)) from error


def raise_where_unreadable(path: Path, error: Exception) -> None:
    """Raises TrainerError where `error` came from the system while reading `path`, and not from its contents."""
    if isinstance(error, OSError) and error.errno not in (None, *ABSENT):
        raise TrainerError(cannot_read(path, error)) from error


def parse_json(path: Path, data: bytes, expected: str) -> dict[str, Any]:
    """The JSON object in `data`, the bytes of `path`. Raises TrainerError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"{path} is not readable as JSON ({error}); expected {expected}") from error
    if not isinstance(value, dict):
        raise TrainerError(f"{path} holds a {type(value).__name__}; expected {expected}")
    return value


def write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a header and one line for each row; numbers are written by `repr`, so that they read back exactly."""
    names = list(rows[0]) if rows else []
    write_rows(path, [names, *([row[name] for name in names] for row in rows)])


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write one line for each row, quoted where CSV needs it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    replace(path, text.getvalue().encode())
