"""The damage of each trial: a flipped bit; a cut, deleted or exchanged file."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

LARGE_BYTES = 1 << 20  # size from which only some bytes of a file are damaged
END_BYTES, STEPS = 2048, 5000  # of a large file: all bytes of both ends, and about this many between


def all_trials(kind: str, root: Path) -> Iterator[str]:
    """The names of all trials on a folder: KIND:FAULT:FILE:POSITION, or KIND:swap:FILE:FILE."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    for name in files:
        yield f"{kind}:delete:{name}:0"
        for position in _positions((root / name).stat().st_size):
            yield f"{kind}:flip:{name}:{position}"
            yield f"{kind}:cut:{name}:{position}"
    for first, second in combinations(files, 2):
        yield f"{kind}:swap:{first}:{second}"


def _positions(size: int) -> Iterator[int]:
    """Each byte of a file; of a large one, the bytes of both ends and some between."""
    if size <= LARGE_BYTES:
        yield from range(size)
        return
    yield from range(END_BYTES)
    yield from range(END_BYTES, size - END_BYTES, size // STEPS)
    yield from range(size - END_BYTES, size)


@contextmanager
def damaged(root: Path, trial: str, seed: int) -> Iterator[None]:
    """Damage a folder during the block, and undo the damage afterwards."""
    _, fault, name, position = trial.split(":")
    path, backup = root / name, root.parent / "backup"
    data = path.read_bytes()
    if fault == "swap":
        _swap(path, root / position, backup)
    elif fault == "delete":
        path.rename(backup)
    elif fault == "cut":
        os.truncate(path, int(position))
    else:
        _flip(path, int(position), 1 << random.Random(f"{seed} {trial}").randrange(8))
    try:
        yield
    finally:
        if fault == "swap":
            _swap(path, root / position, backup)
        elif fault == "delete":
            backup.rename(path)
        else:
            path.write_bytes(data)


def _swap(first: Path, second: Path, temporary: Path) -> None:
    first.rename(temporary)
    second.rename(first)
    temporary.rename(second)


def _flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ bit]))
