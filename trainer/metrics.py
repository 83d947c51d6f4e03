"""Cohen's kappa, accuracy, F1 and AUC, each with what chance leaves uncertain: pure, NumPy only.

Kappa, accuracy and F1 are functions of the confusion matrix alone. So drawing n cases with replacement is drawing a
matrix from the multinomial law over its cells, and every statistic takes a whole stack of matrices (…, k, k) at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainer.errors import TrainerError

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)  # of the resamples: the ends of a 95 % interval
LEAST_PROBABILITY = 1e-7  # what a probability counts as at least in the cross-entropy, as in Keras

Scores = Any  # float64: one number for one matrix (k, k), an array (…) for a stack of them (…, k, k)
Statistic = Callable[[np.ndarray], Scores]


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): how many cases of class `row` were taken for class `column`.

    Raises TrainerError where the two differ in length or hold anything but labels from 0 to `classes` - 1.
    """
    truth, predicted = _labels("truth", truth, classes), _labels("prediction", predicted, classes)
    if len(truth) != len(predicted):
        raise TrainerError(f"{len(truth)} true labels and {len(predicted)} predictions; expected one for each case")
    cells = np.bincount(truth * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes).astype(np.int64, copy=False)


def kappa(confusion: np.ndarray) -> Scores:
    """Cohen's kappa of (…, k, k): agreement beyond chance, 1 at most.

    0 where it is undefined: no cases, or chance agrees always, as truth and prediction are one and the same class.
    """
    confusion = np.asarray(confusion, np.float64)  # products of counts stay exact up to 90 million cases
    n = confusion.sum((-2, -1))
    chance = (confusion.sum(-1) * confusion.sum(-2)).sum(-1)
    return _ratio(n * _agreed(confusion) - chance, n * n - chance)


def accuracy(confusion: np.ndarray) -> Scores:
    """The share of cases (…, k, k) on the diagonal; 0 without cases."""
    return _ratio(_agreed(confusion), np.sum(confusion, (-2, -1)))


def f1(confusion: np.ndarray) -> Scores:
    """float64 (…, k): each class's harmonic mean of precision and recall; 0 where it was neither true nor predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * hits, np.sum(confusion, -1) + np.sum(confusion, -2))


def bootstrap(
    confusion: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Scores, Scores]:
    """(low, high): the percentile 95 % interval of `statistic` when the cases are drawn anew with replacement.

    Fixed by its arguments. Both ends have the shape that `statistic` gives for one matrix. It tells nothing of a
    network without an error: there every resample is alike. Raises TrainerError where there are no cases.
    """
    confusion = np.asarray(confusion)
    drawn = _redraw(confusion.ravel(), resamples, seed).reshape(resamples, *confusion.shape)
    low, high = np.percentile(statistic(drawn), PERCENTILES, axis=0)
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
    on each, so never 0 and at most 1. `statistic` gives one number for a matrix. Raises TrainerError as
    `confusion_matrix` does, and where there are no cases.
    """
    before, after = (statistic(confusion_matrix(truth, predicted, classes)) for predicted in (first, second))
    one, other = resampled(truth, [first, second], classes, statistic, resamples, seed)
    return (float(after - before), *compare(one, other))


def compare(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of `other` - `one`, a statistic on the same resamples (r,), as `paired_bootstrap` has them."""
    differences = other - one
    low, high = np.percentile(differences, PERCENTILES)
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
    drawn = _redraw(counts, resamples, seed).astype(np.float64)
    return np.array([statistic(_collect(drawn, cells[0] * classes + row, classes)) for row in cells[1:]])


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
    has a [low, high] for `kappa`, `accuracy` and each class's `f1`. Raises TrainerError where there are no cases, a
    probability is not finite, or names, labels and probabilities do not fit together.
    """
    truth, probabilities = _checked(truth, probabilities)
    names = list(class_names)
    if len(set(names)) != probabilities.shape[1] or len(names) != len(set(names)):
        raise TrainerError(
            f"class names {', '.join(names)} for {probabilities.shape[1]} probabilities a case; expected one name each"
        )
    confusion = confusion_matrix(truth, probabilities.argmax(1), len(names))
    intervals = {
        statistic.__name__: np.transpose(bootstrap(confusion, statistic, seed=seed)).tolist()
        for statistic in (kappa, accuracy, f1)
    }
    return {
        "kappa": float(kappa(confusion)),
        "accuracy": float(accuracy(confusion)),
        "ci95": intervals | {"f1": dict(zip(names, intervals["f1"], strict=True))},
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


def _agreed(confusion: np.ndarray) -> np.ndarray:
    return np.trace(confusion, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> Scores:
    """`part` / `whole`, 0 where `whole` is."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.not_equal(whole, 0))[()]


def _redraw(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """int64 (resamples, cells): as many cases as `counts` (cells,) has, drawn from them with replacement."""
    n = counts.sum()
    if n == 0:
        raise TrainerError("there are no cases to draw from; expected at least one with a label")
    filled = np.flatnonzero(counts)  # an empty cell stays empty, whatever rounding leaves of the shares
    drawn = np.zeros((resamples, counts.size), np.int64)
    drawn[:, filled] = np.random.default_rng(seed).multinomial(n, counts[filled] / n, size=resamples)
    return drawn


def _collect(drawn: np.ndarray, cells: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrices (resamples, classes, classes) from draws (resamples, m), the m-th counting in `cells[m]`."""
    return (drawn @ np.eye(classes**2)[cells]).reshape(-1, classes, classes)


def _area(positive: np.ndarray, values: np.ndarray) -> float:
    """The rank statistic: P(value of a positive > of a negative) + P(equal) / 2."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # from 1; equals share their mean rank
    ones = int(positive.sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(values) - ones)))
