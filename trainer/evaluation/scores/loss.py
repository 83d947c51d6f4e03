"""Cross-entropy, the loss that training minimises."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import checked_probabilities

LEAST_PROBABILITY = 1e-7  # smaller probabilities count as this much, as in Keras


def cross_entropy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log of the true class's probability (n, k), in nats; none counts as less than 1e-7.

    Raises TrainerError as `score` does.
    """
    truth, probabilities = checked_probabilities(truth, probabilities)
    given = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(given, LEAST_PROBABILITY)).mean())


METRIC = Metric("loss", 7, of_probabilities=cross_entropy, shown=False)
