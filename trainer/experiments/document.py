"""experiment.json: everything that the finished runs of an experiment depend on, except the splits."""

from pathlib import Path
from typing import Any

from msgspec import structs

from cache.documents import Document, InvalidDocument, from_json
from trainer.config import checked_settings
from trainer.errors import TrainerError
from trainer.runs import manifest

NAME = "experiment.json"


class ExperimentDocument(Document, frozen=True):
    """The contents of experiment.json. Raises InvalidDocument.

    `clips` and `scans` are paths of caches. `given` has the fields of Config that the user set for both stages,
    `pretraining` those for the first one only. `frozen` is True for training on cached features.
    """

    clips: str
    scans: str
    given: dict[str, Any]
    pretraining: dict[str, Any]
    frozen: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("given", "pretraining"):
            structs.force_setattr(self, name, checked_settings(getattr(self, name)))


def read_document(root: Path) -> ExperimentDocument:
    """experiment.json in the folder `root`, also from an earlier version. Raises TrainerError."""
    data = manifest.read_json(root / NAME, "the experiment.json of an experiment")
    try:
        return from_json(ExperimentDocument, data, complete=True)
    except InvalidDocument as error:
        raise TrainerError(
            f"{root / NAME} is not that of an experiment: {error}; restore it, or choose another DIR"
        ) from error
