"""The declaration of a metric, over which metrics.json, reports and tables iterate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.tally import Scores, Tally


@dataclass(frozen=True)
class Metric:
    """A score of predictions, from a confusion matrix or from probabilities: one of the two functions is set.

    Arguments:
        title: its name in reports; its key in metrics.json is the name of its file.
        position: reports show metrics in this order.
        of_tally: confusion matrix (k, k), a stack of them, or a `Tally` → score; it gets a 95 % interval by resampling.
        of_probabilities: int labels (n,), probabilities float64 (n, k) → score, None where undefined.
        per_class: a score is an array (k,) with a number for each class, and not one number.
        shown: False for a metric that is in metrics.json only.
    """

    title: str
    position: int
    of_tally: Callable[[np.ndarray | Tally], Scores] | None = None
    of_probabilities: Callable[[np.ndarray, np.ndarray], float | None] | None = None
    per_class: bool = False
    shown: bool = True
