"""Cohen's kappa (Cohen, Educational and Psychological Measurement 20, 1960)."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import Scores, Tally, ratio, tally_of


def kappa(confusion: np.ndarray | Tally) -> Scores:
    """Cohen's kappa of (…, k, k): agreement beyond chance, 1 at most.

    NaN where it is undefined: without cases, or where all are labelled and predicted as the same class.
    """
    tally = tally_of(confusion)
    n = tally.total  # products of counts stay exact up to 90 million cases
    chance = (tally.labelled * tally.predicted).sum(-1)
    return ratio(n * tally.total_correct - chance, n * n - chance, undefined=np.nan)


METRIC = Metric("kappa", 1, of_tally=kappa)
