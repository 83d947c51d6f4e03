"""Area under the ROC curve."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import checked_probabilities


def auc(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    """The area for probabilities (n, k): how likely a positive case ranks above a negative one; ties count half.

    For two classes, class 1 against class 0. For more, the mean over the classes, each against the rest. Classes
    that no case or every case has are left out; None where no class remains. Raises TrainerError as `score` does.
    """
    truth, probabilities = checked_probabilities(truth, probabilities)
    classes = probabilities.shape[1]
    tested = (1,) if classes == 2 else range(classes)
    areas = [_area(truth == label, probabilities[:, label]) for label in tested if 0 < np.mean(truth == label) < 1]
    return float(np.mean(areas)) if areas else None


def _area(positive: np.ndarray, values: np.ndarray) -> float:
    """The rank statistic: P(value of a positive > value of a negative) + P(equal) / 2."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # from 1; equal values share their mean rank
    ones = int(positive.sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(values) - ones)))


METRIC = Metric("AUC", 5, of_probabilities=auc)
