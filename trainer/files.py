"""Files of a run: each is replaced as a whole, so that a crash or a full disk leaves the one before."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cache.durable import flush_folder
from cache.oserrors import reason, remedy
from trainer.errors import TrainerError

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


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    replace(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in `path`, an untrusted file that should be `what`. Raises TrainerError."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}; expected {what}") from error
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"{path} is not readable as JSON ({error}); expected {what}") from error
    if not isinstance(data, dict):
        raise TrainerError(f"{path} holds a {type(data).__name__}; expected {what}")
    return data


def write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """One line a row below a line of names; numbers as `repr` gives them, so that reading gives the same back."""
    names = list(rows[0]) if rows else []
    write_rows(path, [names, *([row[name] for name in names] for row in rows)])


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """One line a row, quoted where CSV needs it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    replace(path, text.getvalue().encode())
