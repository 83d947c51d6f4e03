"""Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, §2)."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import checked_probabilities

BINS = 15  # of equal width


def expected_calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean difference between confidence and accuracy of labels (n,) and probabilities (n, k), from 0 to 1.

    Cases are sorted into 15 bins by the probability of their predicted class. A bin's difference between the mean of
    these probabilities and its accuracy is weighted by its share of the cases. Raises TrainerError as `score` does.
    """
    truth, probabilities = checked_probabilities(truth, probabilities)
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # a bin includes its upper end
    gaps = np.bincount(bins, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(truth))


METRIC = Metric("ECE", 6, of_probabilities=expected_calibration_error)
