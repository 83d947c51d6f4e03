"""Balanced accuracy: the mean recall of the classes (Brodersen et al., ICPR 2010)."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import Scores, Tally, ratio, tally_of


def balanced_accuracy(confusion: np.ndarray | Tally) -> Scores:
    """The mean recall in (…, k, k) of the classes that have a labelled case; 0 without cases."""
    tally = tally_of(confusion)
    recall = ratio(tally.correct, tally.labelled)
    return ratio(np.sum(recall, -1), np.count_nonzero(tally.labelled, -1))


METRIC = Metric("balanced accuracy", 3, of_tally=balanced_accuracy)
