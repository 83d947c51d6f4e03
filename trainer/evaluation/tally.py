"""Confusion matrices, and the counts by class in them that metrics are computed from. NumPy only.

Kappa, accuracy and F1 depend only on a matrix's row sums, column sums and diagonal: its `Tally`. A function of a tally
accepts one matrix (k, k), a stack of them (…, k, k), or the `Tally` of either.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import TrainerError

Scores = Any  # float64: one number for one matrix (k, k), an array (…) for a stack of them (…, k, k)


@dataclass(frozen=True)
class Tally:
    """For each class the number of cases labelled as it, predicted as it, and both, each float64 (…, k)."""

    labelled: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """The number of cases, (…)."""
        return np.sum(self.labelled, -1)

    @property
    def total_correct(self) -> np.ndarray:
        """The number of correct predictions, (…)."""
        return np.sum(self.correct, -1)


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): the number of cases labelled as class `row` and predicted as class `column`.

    Raises TrainerError where the two differ in length or hold labels outside 0 to `classes` - 1.
    """
    truth, predicted = checked_labels("truth", truth, classes), checked_labels("prediction", predicted, classes)
    if len(truth) != len(predicted):
        raise TrainerError(f"{len(truth)} true labels and {len(predicted)} predictions; expected one for each case")
    cells = np.bincount(truth * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes).astype(np.int64, copy=False)


def tally_of(confusion: np.ndarray | Tally) -> Tally:
    """The tally of confusion matrices (…, k, k); a tally is returned unchanged."""
    if isinstance(confusion, Tally):
        return confusion
    confusion = np.asarray(confusion, np.float64)
    return Tally(confusion.sum(-1), confusion.sum(-2), np.diagonal(confusion, axis1=-2, axis2=-1))


def ratio(numerator: np.ndarray, denominator: np.ndarray, undefined: float = 0) -> Scores:
    """`numerator` / `denominator`, and `undefined` where the denominator is 0."""
    result = np.full(np.shape(denominator), float(undefined))
    return np.divide(numerator, denominator, out=result, where=np.not_equal(denominator, 0))[()]


def checked_labels(name: str, values: np.ndarray, classes: int) -> np.ndarray:
    """`values` as int64 (n,), each from 0 to `classes` - 1. Raises TrainerError."""
    labels = np.asarray(values)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise TrainerError(
            f"{name} is {labels.dtype} of shape {labels.shape}; expected whole numbers, one for each case"
        )
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise TrainerError(
            f"{name} holds label {labels[bad[0]]} (case {bad[0]} from 0); expected 0 to {classes - 1}; "
            "leave out cases without a label"
        )
    return labels.astype(np.int64)


def checked_probabilities(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (n,) and probabilities float64 (n, k) that fit together, n at least 1. Raises TrainerError."""
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or len(probabilities) != len(truth):
        raise TrainerError(
            f"{len(truth)} true labels and predictions of shape {probabilities.shape}; expected (cases, classes)"
        )
    if not len(truth):
        raise TrainerError("there are no cases to score; expected at least one with a label")
    bad = np.flatnonzero(~np.isfinite(probabilities).all(1))
    if bad.size:
        raise TrainerError(
            f"the prediction of {bad.size} of {len(truth)} cases is not finite (the first is number {bad[0]} from 0); "
            "expected probabilities; the weights have diverged: train again with a lower learning rate"
        )
    return checked_labels("truth", truth, probabilities.shape[1]), probabilities
