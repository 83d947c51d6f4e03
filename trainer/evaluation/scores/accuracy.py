"""Accuracy: the share of correct predictions."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import Scores, Tally, ratio, tally_of


def accuracy(confusion: np.ndarray | Tally) -> Scores:
    """The share of correct predictions in (…, k, k); 0 without cases."""
    tally = tally_of(confusion)
    return ratio(tally.total_correct, tally.total)


METRIC = Metric("accuracy", 2, of_tally=accuracy)
