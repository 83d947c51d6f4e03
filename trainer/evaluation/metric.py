"""What a metric says of itself, so that scores, reports and tables can iterate over all of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.tally import Scores, Tally


@dataclass(frozen=True)
class Metric:
    """One score of predictions. Exactly one of `of_tally` and `of_probabilities` is set.

    `of_tally` takes a confusion matrix, a stack of them, or a tally; it is resampled, so it has a 95 % interval.
    `of_probabilities` takes int labels (n,) and probabilities float64 (n, k), and gives a number, or None where it is
    undefined. A metric `per_class` gives one number for each class. `position` orders metrics in reports;
    one that is not `shown` is in metrics.json only.
    """

    title: str
    position: int
    of_tally: Callable[[np.ndarray | Tally], Scores] | None = None
    of_probabilities: Callable[[np.ndarray, np.ndarray], float | None] | None = None
    per_class: bool = False
    shown: bool = True
