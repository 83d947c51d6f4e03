"""Bootstrap intervals of scores, alone and paired: cases are drawn with replacement, 2000 times. NumPy only.

Drawing n cases is the same as drawing the counts of a matrix's nonzero cells from a multinomial distribution.
Resamples are drawn and counted in blocks of bounded size, without a k × k matrix for each.
"""

from collections.abc import Callable, Sequence

import numpy as np

from trainer.errors import TrainerError
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.tally import Scores, Tally, confusion_matrix

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)  # of the resamples: the ends of a 95 % interval
BLOCK_VALUES = 2**21  # numbers in each array of a block of resamples: 16 MiB of float64

Statistic = Callable[[np.ndarray | Tally], Scores]


def bootstrap(
    confusion: np.ndarray, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Scores, Scores]:
    """(low, high): the percentile 95 % interval of `statistic` when the cases are drawn again with replacement.

    Fixed by its arguments. Both ends have the shape that `statistic` has for one matrix. Resamples where it is
    undefined are left out; both ends are NaN where it always is. The interval has no width for a network that makes no
    error or predicts one class only: all its resamples are equal. Raises TrainerError where there are no cases.
    """
    (values,) = resample(confusion, [statistic], resamples, seed)
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

    The resamples hold the same cases for both. `low` and `high` are the percentile 95 % interval of the difference. The
    two-sided p is twice the smaller share of resamples on either side of 0, where the difference itself counts as one
    more on each side; it is never 0 and at most 1. `statistic` gives one number for a matrix. Resamples where it is
    undefined for either are left out; `low`, `high` and p are NaN where none is left, the difference where it is
    undefined itself.
    Raises TrainerError as `confusion_matrix` does, and where there are no cases.
    """
    before, after = (statistic(confusion_matrix(truth, predicted, classes)) for predicted in (first, second))
    one, other = resample_predictions(truth, [first, second], classes, statistic, resamples, seed)
    return (float(after - before), *compare(one, other))


def compare(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of `other` - `one`, a statistic on the same resamples (r,); see `paired_bootstrap`."""
    differences = other - one
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return np.nan, np.nan, np.nan
    low, high = interval(differences)
    tail = min(np.sum(differences <= 0), np.sum(differences >= 0))
    p = min(1.0, 2 * (1 + tail) / (1 + len(differences)))
    return float(low), float(high), float(p)


def resample_predictions(
    truth: np.ndarray,
    predictions: Sequence[np.ndarray],
    classes: int,
    statistic: Statistic = kappa,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """float64 (predictions, resamples, …): `statistic` of several predictions for the same cases.

    The r-th resample holds the same cases for all predictions. Raises TrainerError as `confusion_matrix` does.
    """
    for predicted in predictions:
        confusion_matrix(truth, predicted, classes)
    cells, counts = np.unique(np.array([truth, *predictions], np.int64), axis=1, return_counts=True)
    return _resample(counts, cells, classes, [statistic], resamples, seed)[0]


def resample(confusion: np.ndarray, statistics: Sequence[Statistic], resamples: int, seed: int) -> list[np.ndarray]:
    """Each statistic of `confusion` (k, k) with its cases drawn again: float64 (resamples, …)."""
    confusion = np.asarray(confusion)
    filled = confusion.nonzero()  # an empty cell stays empty despite rounding of the shares
    values = _resample(confusion[filled], np.array(filled), len(confusion), statistics, resamples, seed)
    return [one[0] for one in values]


def _resample(
    counts: np.ndarray, cells: np.ndarray, classes: int, statistics: Sequence[Statistic], resamples: int, seed: int
) -> list[np.ndarray]:
    """Each statistic, float64 (p, resamples, …), of p predictions for the same cases, drawn with replacement.

    There are `counts` (m,) cases of each combination of label and predictions; `cells` int64 (1 + p, m) has these.
    The draws depend on `counts`, `resamples` and `seed` alone, never on the size of a block.
    """
    n = counts.sum()
    if n == 0:
        raise TrainerError("there are no cases to draw from; expected at least one with a label")
    generator = np.random.default_rng(seed)
    block_size = max(1, BLOCK_VALUES // max(len(counts), classes))
    blocks = []
    for first in range(0, resamples, block_size):
        drawn = generator.multinomial(n, counts / n, size=min(block_size, resamples - first))
        tallies = (_tally(drawn, cells[0], predicted, classes) for predicted in cells[1:])
        blocks.append([[statistic(tally) for statistic in statistics] for tally in tallies])
    return [
        np.array(
            [np.concatenate([block[prediction][number] for block in blocks]) for prediction in range(len(cells) - 1)]
        )
        for number in range(len(statistics))
    ]


def _tally(drawn: np.ndarray, truth: np.ndarray, predicted: np.ndarray, classes: int) -> Tally:
    """The tally of each resample in `drawn` (r, m), whose m-th column counts cases with these labels."""
    correct = truth == predicted
    return Tally(
        _sum_by_class(drawn, truth, classes),
        _sum_by_class(drawn, predicted, classes),
        _sum_by_class(drawn[:, correct], truth[correct], classes),
    )


def _sum_by_class(drawn: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """float64 (r, classes): the columns of `drawn` (r, m) added up by their `label` (m,)."""
    sums = np.zeros((len(drawn), classes))
    if label.size:
        order = np.argsort(label, kind="stable")
        present, starts = np.unique(label[order], return_index=True)
        sums[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return sums
