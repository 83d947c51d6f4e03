"""validation.csv: the predictions of a run's best weights for its validation samples."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import TrainerError
from trainer.runs import files, manifest

NAME = "validation.csv"


@dataclass(frozen=True)
class ValidationPredictions:
    """`labels` int64 (n,) and `probabilities` (n, classes) of the samples `ids`."""

    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]


def write_predictions(root: Path, predictions: ValidationPredictions) -> None:
    """Write validation.csv of the run in `root`. Raises TrainerError."""
    probabilities = predictions.probabilities.astype(float).tolist()
    rows = zip(predictions.ids, predictions.labels.tolist(), probabilities, strict=True)
    header = ("id", "label", *predictions.class_names)
    files.write_rows(root / NAME, [header, *((name, label, *row) for name, label, row in rows)])


def read_predictions(root: Path) -> ValidationPredictions:
    """The predictions in validation.csv of the run in `root`. Raises TrainerError."""
    path = root / NAME
    data = manifest.read(path, "validation.csv of a run")
    try:
        header, *rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
        return _parse(header, rows)
    except (ValueError, IndexError, csv.Error) as error:
        raise TrainerError(f"{path} is not that of a run ({error}); restore it, or train again") from error


def _parse(header: list[str], rows: list[list[str]]) -> ValidationPredictions:
    """Raises ValueError, IndexError."""
    names, ids = tuple(header[2:]), tuple(row[0] for row in rows)
    labels = np.array([int(row[1]) for row in rows], np.int64)
    probabilities = np.array([[float(value) for value in row[2:]] for row in rows]).reshape(len(rows), -1)
    if header[:2] != ["id", "label"] or not rows or len({*ids}) != len(ids) or probabilities.shape[1] != len(names):
        raise ValueError("rows of an id, a label and a probability for each class were expected")
    if not (labels.min() >= 0 and labels.max() < len(names) and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("a label or a probability is out of range")
    return ValidationPredictions(ids, labels, probabilities, names)
