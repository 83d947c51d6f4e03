"""Bootstrap intervals of scores, alone and paired: pure, NumPy only.

Redrawing n cases with replacement is drawing the counts of a matrix's filled cells from their multinomial law. So
resamples are drawn and tallied in blocks of bounded size, without a k × k matrix for each.
"""

from collections.abc import Callable, Sequence

import numpy as np

from trainer.errors import TrainerError
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.tally import Scores, Tally, confusion_matrix

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)  # of the resamples: the ends of a 95 % interval
BLOCK_VALUES = 2**21  # numbers in each of the handful of arrays that a block of resamples needs: 16 MiB of float64

Statistic = Callable[[np.ndarray | Tally], Scores]


def bootstrap(
    confusion: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Scores, Scores]:
    """(low, high): the percentile 95 % interval of `statistic` when the cases are redrawn with replacement.

    Fixed by its arguments. Both ends have the shape that `statistic` gives for one matrix. Resamples where it is
    undefined are left out; both ends are NaN where it always is. The interval has no width for a network that makes no
    error or predicts one class only: there every resample is alike. Raises TrainerError where there are no cases.
    """
    (values,) = redrawn(confusion, [statistic], resamples, seed)
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


def redrawn(confusion: np.ndarray, statistics: Sequence[Statistic], resamples: int, seed: int) -> list[np.ndarray]:
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
