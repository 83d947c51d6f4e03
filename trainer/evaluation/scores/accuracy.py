"""Accuracy."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import Scores, Tally, ratio, tally_of


def accuracy(confusion: np.ndarray | Tally) -> Scores:
    """The share of cases (…, k, k) on the diagonal; 0 without cases."""
    tally = tally_of(confusion)
    return ratio(tally.agreed, tally.cases)


METRIC = Metric("accuracy", 2, of_tally=accuracy)
