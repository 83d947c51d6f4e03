"""The model of a cache: the values and labels that each sample may have."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.fingerprint import digest_files
from pipeline.errors import InvalidInput
from pipeline.recipes.base import Sample
from pipeline.recipes.ct import CtRecipe

CLASSES = ("one", "two")
INVALID = "bad"  # the content of an invalid source
UNREADABLE = -1  # in place of a value
UNLABELLED = -1


class TextRecipe(CtRecipe):
    """Volumes with a single value, from text files: fast, and the cache does not depend on the kind of source."""

    def make(self, paths: tuple[Path, ...]) -> Sample:
        text = paths[0].read_text()
        if text == INVALID:
            raise InvalidInput("the file is invalid", "a valid file", "replace it")
        values = np.full((self.depth, self.height, self.width), int(text), np.uint16)
        return Sample(values, digest_files(paths), {"notes": []})


RECIPE = TextRecipe(depth=2, height=2, width=2)


@dataclass
class Allowed:
    """The values and labels that a sample may have; not `present` if a kill leaves open whether the sample exists."""

    values: set[int]
    labels: set[int]
    present: bool = True


@dataclass(frozen=True)
class Source:
    """The content of a source file, and the label that a run assigns; None to keep the label of the sample."""

    text: str
    label: int | None

    @property
    def valid(self) -> bool:
        return self.text != INVALID
