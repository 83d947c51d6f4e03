"""A file format to fuzz."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """The files of one format: valid ones in `corpus`, and the functions that change one and read it.

    `change(data, rng, corpus)` returns changed data; `read(path)` reads a file as the commands do.
    """

    corpus: list[bytes]
    suffix: str
    change: Change
    read: Callable[[Path], Any]


@dataclass(frozen=True)
class Format:
    """A format, without its corpus: the share of the trials, the part of the world, and the function of the target.

    `make_target(folder)` may write files to a new folder.
    """

    weight: int
    part: str
    make_target: Callable[[Path], Target]
