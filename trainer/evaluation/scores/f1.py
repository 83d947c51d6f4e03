"""F1 of each class: the harmonic mean of precision and recall."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import Scores, Tally, ratio, tally_of


def f1(confusion: np.ndarray | Tally) -> Scores:
    """float64 (…, k): F1 of each class in (…, k, k); 0 for a class that is neither labelled nor predicted."""
    tally = tally_of(confusion)
    return ratio(2 * tally.correct, tally.labelled + tally.predicted)


METRIC = Metric("F1", 4, of_tally=f1, per_class=True)
