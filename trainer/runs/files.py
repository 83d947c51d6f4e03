"""Files of a run: each is replaced as a whole, so that a crash or a full disk leaves the one before."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cache.confined import UnexpectedFile, read_regular
from cache.durable import flush_folder
from cache.oserrors import ABSENT, cannot_read, reason, remedy
from trainer.errors import TrainerError

MOST_BYTES = 1 << 27  # of a JSON or CSV file: samples.json of a million samples has fewer
PARTIAL = "partial-"  # begins the name of a file that is being written


def replace(path: Path, data: bytes | memoryview, prefix: str = PARTIAL) -> None:
    """Make `path` a file of `data`, as `replace_by` does."""
    replace_by(path, lambda partial: partial.write_bytes(data), prefix)


def replace_by(path: Path, write: Callable[[Path], Any], prefix: str = PARTIAL) -> None:
    """Make `path` what `write` writes to the path that it is given, durably. Raises TrainerError where that fails.

    While it is written, its name begins with `prefix`.
    """
    partial = path.with_name(prefix + path.name)
    try:
        write(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        todo = remedy(error, "check the path and its permissions")
        raise TrainerError(f"cannot write {path}: {reason(error)}; what was saved before is kept; {todo}") from error


def remove(path: Path) -> None:
    """Remove the file `path`, or the link, where there is one. Raises TrainerError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        todo = remedy(error, "delete it")
        raise TrainerError(f"cannot remove {path}: {reason(error)}; {todo}") from error


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    replace(path, dump_json(data))


def dump_json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in `path`, an untrusted file that should be `what`. Raises TrainerError."""
    return parse_json(path, read(path, what), what)


def read(path: Path, what: str) -> bytes:
    """The bytes of `path`, an untrusted file that should be `what`. Raises TrainerError."""
    with reading(path, what):
        return read_regular(path, MOST_BYTES)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError into the TrainerError that says whether `path` is something else, or could not be read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, UnexpectedFile) or error.errno in ABSENT:
            raise TrainerError(f"{path}: {reason(error)}; expected {what}") from error
        raise TrainerError(cannot_read(path, error)) from error


def raise_where_unreadable(path: Path, error: Exception) -> None:
    """Raise TrainerError where `error` of reading `path` is the system's, and says nothing about what is in it."""
    if isinstance(error, OSError) and error.errno not in (None, *ABSENT):
        raise TrainerError(cannot_read(path, error)) from error


def parse_json(path: Path, data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`, the bytes of `path`. Raises TrainerError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"{path} is not readable as JSON ({error}); expected {what}") from error
    if not isinstance(value, dict):
        raise TrainerError(f"{path} holds a {type(value).__name__}; expected {what}")
    return value


def write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """One line a row below a line of names; numbers as `repr` gives them, so that reading gives the same back."""
    names = list(rows[0]) if rows else []
    write_rows(path, [names, *([row[name] for name in names] for row in rows)])


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """One line a row, quoted where CSV needs it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    replace(path, text.getvalue().encode())
