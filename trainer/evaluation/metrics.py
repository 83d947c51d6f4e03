"""Cohen's kappa, accuracy, F1 and AUC, each with what chance leaves uncertain: pure, NumPy only.

Kappa, accuracy and F1 depend only on the confusion matrix's row sums, column sums and diagonal: a `Tally`. Drawing n
cases with replacement is drawing the counts of its filled cells from their multinomial law, so resamples are drawn and
tallied in blocks of bounded size, and a matrix of k × k cells is never made for each. Every statistic takes a matrix, a
stack of them (…, k, k), or a tally.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import TrainerError

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)  # of the resamples: the ends of a 95 % interval
LEAST_PROBABILITY = 1e-7  # what a probability counts as at least in the cross-entropy, as in Keras
BLOCK_VALUES = 2**21  # numbers in each of the handful of arrays that a block of resamples needs: 16 MiB of float64

Scores = Any  # float64: one number for one matrix (k, k), an array (…) for a stack of them (…, k, k)


@dataclass(frozen=True)
class Tally:
    """Of confusion matrices (…, k, k), for each class how many cases have it as label, as prediction, and as both.

    Each is float64 (…, k).
    """

    labelled: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray

    @property
    def cases(self) -> np.ndarray:
        """How many there are in all, (…)."""
        return np.sum(self.labelled, -1)

    @property
    def agreed(self) -> np.ndarray:
        """How many are predicted as they are labelled, (…)."""
        return np.sum(self.correct, -1)


Statistic = Callable[[np.ndarray | Tally], Scores]


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): how many cases of class `row` were taken for class `column`.

    Raises TrainerError where the two differ in length or hold anything but labels from 0 to `classes` - 1.
    """
    truth, predicted = _labels("truth", truth, classes), _labels("prediction", predicted, classes)
    if len(truth) != len(predicted):
        raise TrainerError(f"{len(truth)} true labels and {len(predicted)} predictions; expected one for each case")
    cells = np.bincount(truth * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes).astype(np.int64, copy=False)


def kappa(confusion: np.ndarray | Tally) -> Scores:
    """Cohen's kappa of (…, k, k): agreement beyond chance, 1 at most.

    NaN where it is undefined: no cases, or all of them labelled and predicted as one and the same class.
    """
    tally = _tally(confusion)
    n = tally.cases  # products of counts stay exact up to 90 million cases
    chance = (tally.labelled * tally.predicted).sum(-1)
    return _ratio(n * tally.agreed - chance, n * n - chance, undefined=np.nan)


def accuracy(confusion: np.ndarray | Tally) -> Scores:
    """The share of cases (…, k, k) on the diagonal; 0 without cases."""
    tally = _tally(confusion)
    return _ratio(tally.agreed, tally.cases)


def f1(confusion: np.ndarray | Tally) -> Scores:
    """float64 (…, k): each class's harmonic mean of precision and recall; 0 where it was neither true nor predicted."""
    tally = _tally(confusion)
    return _ratio(2 * tally.correct, tally.labelled + tally.predicted)


def bootstrap(
    confusion: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Scores, Scores]:
    """(low, high): the percentile 95 % interval of `statistic` when the cases are redrawn with replacement.

    Fixed by its arguments. Both ends have the shape that `statistic` gives for one matrix. Resamples where it is
    undefined are left out; both ends are NaN where it always is. The interval has no width for a network that makes no
    error or predicts one class only: there every resample is alike. Raises TrainerError where there are no cases.
    """
    (values,) = _redrawn(confusion, [statistic], resamples, seed)
    return interval(values)


def interval(values: np.ndarray) -> tuple[Scores, Scores]:
    """(low, high) of the percentile 95 % interval of resamples (r, …), without those that hold NaN; else NaN."""
    defined = values[~np.isnan(values).reshape(len(values), -1).any(1)]
    if not len(defined):
        return (np.full(values.shape[1:], np.nan)[()],) * 2
    low, high = np.percentile(defined, PERCENTILES, axis=0)
    return low, high


def paired_bootstrap(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    classes: int,
    statistic: Statistic = kappa,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float, float]:
    """(difference, low, high, p) of `statistic` of `second` minus that of `first`, two predictions for the same cases.

    The resamples hold the same cases for both. `low` and `high` end the percentile 95 % interval of the difference; p,
    two-sided, is twice the smaller share of resamples on either side of 0, the difference itself counted as one more
    on each, so never 0 and at most 1. `statistic` gives one number for a matrix. Resamples where it is undefined for
    either are left out; `low`, `high` and p are NaN where none is left, the difference where it is undefined itself.
    Raises TrainerError as `confusion_matrix` does, and where there are no cases.
    """
    before, after = (statistic(confusion_matrix(truth, predicted, classes)) for predicted in (first, second))
    one, other = resampled(truth, [first, second], classes, statistic, resamples, seed)
    return (float(after - before), *compare(one, other))


def compare(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of `other` - `one`, a statistic on the same resamples (r,), as `paired_bootstrap` has them."""
    differences = other - one
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return np.nan, np.nan, np.nan
    low, high = interval(differences)
    tail = min(np.sum(differences <= 0), np.sum(differences >= 0))
    p = min(1.0, 2 * (1 + tail) / (1 + len(differences)))
    return float(low), float(high), float(p)


def resampled(
    truth: np.ndarray,
    predictions: Sequence[np.ndarray],
    classes: int,
    statistic: Statistic = kappa,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """float64 (predictions, resamples, …): `statistic` of each of several predictions for the same cases, redrawn.

    The r-th resample holds the same cases for all. Raises TrainerError as `confusion_matrix` does.
    """
    for predicted in predictions:
        confusion_matrix(truth, predicted, classes)
    cells, counts = np.unique(np.array([truth, *predictions], np.int64), axis=1, return_counts=True)
    return _resampled(counts, cells, classes, [statistic], resamples, seed)[0]


def cross_entropy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log of the true class's probability (n, k), in nats; none counts as less than 1e-7.

    Raises TrainerError as `score` does.
    """
    truth, probabilities = _checked(truth, probabilities)
    given = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(given, LEAST_PROBABILITY)).mean())


def auc(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Area under the ROC curve of probabilities (n, k): the chance that a case of a class outranks one of another.

    Ties count half. For two classes, class 1 against class 0; for more, the mean over every class that some but not
    all cases have, against the rest. None where no class is such. Raises TrainerError as `score` does.
    """
    truth, probabilities = _checked(truth, probabilities)
    classes = probabilities.shape[1]
    tested = (1,) if classes == 2 else range(classes)
    areas = [_area(truth == label, probabilities[:, label]) for label in tested if 0 < np.mean(truth == label) < 1]
    return float(np.mean(areas)) if areas else None


def score(truth: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """What `metrics.json` holds, of int labels (n,) and probabilities (n, k): plain numbers, lists and names, no NaN.

    A case's prediction is its most probable class, the first of equals. `confusion` has the truth in its rows; `ci95`
    has a [low, high] for `kappa`, `accuracy` and each class's `f1`. An undefined kappa is None, its interval
    [None, None]. Raises TrainerError where there are no cases, a probability is not finite, or names, labels and
    probabilities do not fit together.
    """
    truth, probabilities = _checked(truth, probabilities)
    names = list(class_names)
    if len(set(names)) != probabilities.shape[1] or len(names) != len(set(names)):
        raise TrainerError(
            f"class names {', '.join(names)} for {probabilities.shape[1]} probabilities a case; expected one name each"
        )
    confusion = confusion_matrix(truth, probabilities.argmax(1), len(names))
    of_kappa, of_accuracy, of_f1 = map(interval, _redrawn(confusion, [kappa, accuracy, f1], RESAMPLES, seed))
    intervals = {"kappa": [*map(_number, of_kappa)], "accuracy": [*map(_number, of_accuracy)]}
    return {
        "kappa": _number(kappa(confusion)),
        "accuracy": float(accuracy(confusion)),
        "ci95": intervals | {"f1": dict(zip(names, np.transpose(of_f1).tolist(), strict=True))},
        "f1": dict(zip(names, f1(confusion).tolist(), strict=True)),
        "auc": auc(truth, probabilities),
        "loss": cross_entropy(truth, probabilities),
        "confusion": confusion.tolist(),
        "class_names": names,
        "n": len(truth),
    }


def _checked(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (n,) and probabilities float64 (n, k) that fit together, n at least 1."""
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
    return _labels("truth", truth, probabilities.shape[1]), probabilities


def _labels(name: str, values: np.ndarray, classes: int) -> np.ndarray:
    """`values` as int64 (n,), each from 0 to `classes` - 1."""
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


def _number(value: float) -> float | None:
    """`value` as JSON can hold it: None where it is undefined."""
    return None if np.isnan(value) else float(value)


def _tally(confusion: np.ndarray | Tally) -> Tally:
    if isinstance(confusion, Tally):
        return confusion
    confusion = np.asarray(confusion, np.float64)
    return Tally(confusion.sum(-1), confusion.sum(-2), np.diagonal(confusion, axis1=-2, axis2=-1))


def _ratio(part: np.ndarray, whole: np.ndarray, undefined: float = 0) -> Scores:
    """`part` / `whole`, `undefined` where `whole` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), float(undefined)), where=np.not_equal(whole, 0))[()]


def _redrawn(confusion: np.ndarray, statistics: Sequence[Statistic], resamples: int, seed: int) -> list[np.ndarray]:
    """Each statistic of `confusion` (k, k) with its cases redrawn: float64 (resamples, …)."""
    confusion = np.asarray(confusion)
    filled = confusion.nonzero()  # an empty cell stays empty, whatever rounding leaves of the shares
    found = _resampled(confusion[filled], np.array(filled), len(confusion), statistics, resamples, seed)
    return [values[0] for values in found]


def _resampled(
    counts: np.ndarray, cells: np.ndarray, classes: int, statistics: Sequence[Statistic], resamples: int, seed: int
) -> list[np.ndarray]:
    """Each statistic, float64 (p, resamples, …), of p predictions for the same cases, redrawn with replacement.

    There are `counts` (m,) cases of each kind; `cells` int64 (1 + p, m) has the label and the predictions of each kind.
    The draws depend on `counts`, `resamples` and `seed` alone, never on the size of a block.
    """
    n = counts.sum()
    if n == 0:
        raise TrainerError("there are no cases to draw from; expected at least one with a label")
    generator = np.random.default_rng(seed)
    at_once = max(1, BLOCK_VALUES // max(len(counts), classes))
    blocks = []
    for first in range(0, resamples, at_once):
        drawn = generator.multinomial(n, counts / n, size=min(at_once, resamples - first))
        tallies = (_tallied(drawn, cells[0], predicted, classes) for predicted in cells[1:])
        blocks.append([[statistic(tally) for statistic in statistics] for tally in tallies])
    return [
        np.array(
            [np.concatenate([block[prediction][number] for block in blocks]) for prediction in range(len(cells) - 1)]
        )
        for number in range(len(statistics))
    ]


def _tallied(drawn: np.ndarray, truth: np.ndarray, predicted: np.ndarray, classes: int) -> Tally:
    """The tally of each resample in `drawn` (r, m), whose m-th column counts cases of these labels and predictions."""
    agreed = truth == predicted
    return Tally(
        _summed(drawn, truth, classes),
        _summed(drawn, predicted, classes),
        _summed(drawn[:, agreed], truth[agreed], classes),
    )


def _summed(drawn: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """float64 (r, classes): the columns of `drawn` (r, m) added up by their `label` (m,)."""
    sums = np.zeros((len(drawn), classes))
    if label.size:
        order = np.argsort(label, kind="stable")
        found, starts = np.unique(label[order], return_index=True)
        sums[:, found] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return sums


def _area(positive: np.ndarray, values: np.ndarray) -> float:
    """The rank statistic: P(value of a positive > of a negative) + P(equal) / 2."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # from 1; equals share their mean rank
    ones = int(positive.sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(values) - ones)))
