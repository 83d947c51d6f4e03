"""split.json: the ids of each subset, as a typed document."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.documents import Document, InvalidDocument, from_json
from cache.text import shown
from trainer.errors import TrainerError
from trainer.runs import files, manifest

LAYOUT = '{"train": [ids], "validation": [ids]}, optionally with "test"'


class Split(Document, frozen=True):
    """The ids of each subset, in order. Raises TrainerError where an id repeats, or one of the first two is empty."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except InvalidDocument as error:
            raise TrainerError(f"not a split: {error} of ids, as in {LAYOUT}") from error
        subset_of: dict[str, str] = {}
        for subset, name in self.members():
            if name in subset_of:
                raise TrainerError(
                    f"split has {shown(name)} in {subset_of[name]!r} and in {subset!r}; expected each id once"
                )
            subset_of[name] = subset
        for subset in ("train", "validation"):
            if not self.subsets[subset]:
                raise TrainerError(f"split has no ids in {subset!r}; expected {LAYOUT}")

    @property
    def subsets(self) -> dict[str, tuple[str, ...]]:
        """Name → ids of all three subsets."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def members(self) -> Iterator[tuple[str, str]]:
        """(subset, id) of every sample."""
        return ((subset, name) for subset, ids in self.subsets.items() for name in ids)

    def to_json(self) -> dict[str, list[str]]:
        """The contents of split.json, where `test` may be absent."""
        return {subset: list(ids) for subset, ids in self.subsets.items() if ids}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Split":
        """The split in `data`, an untrusted JSON object. Raises TrainerError."""
        try:
            return from_json(cls, data)
        except InvalidDocument as error:
            raise TrainerError(f"not a split: {error}; expected {LAYOUT}") from error


@dataclass(frozen=True)
class Samples:
    """The properties of samples that their split depends on, in the order of `ids`.

    `labels` (n,) are numbers of `class_names`, -1 for unlabelled. Samples of one group, such as a patient or a scene of
    clips, stay together, as do samples of one digest; "" is neither a group nor a digest.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    digests: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def label_of(self) -> dict[str, int]:
        """Id → label."""
        return dict(zip(self.ids, np.asarray(self.labels).tolist(), strict=True))


def read_split(path: Path) -> Split:
    """The split in `path`, which a user may have written. Raises TrainerError."""
    return _split(path, files.read_json(path, f"a split such as {LAYOUT}"))


def split_of_run(root: Path) -> Split:
    """The split of the run in `root`. Raises TrainerError."""
    path = root / "split.json"
    return _split(path, manifest.read_json(path, f"a split such as {LAYOUT}"))


def _split(path: Path, data: Mapping[str, Any]) -> Split:
    try:
        return Split.from_json(data)
    except TrainerError as error:
        raise TrainerError(f"{path}: {error}") from error
