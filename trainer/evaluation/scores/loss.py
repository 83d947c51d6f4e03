"""Cross-entropy, the loss that training minimises."""

import numpy as np

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import checked_probabilities

MIN_PROBABILITY = 1e-7  # smaller probabilities count as this much, as in Keras


def cross_entropy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log of the true class's probability (n, k), in nats; smaller ones count as 1e-7.

    Raises TrainerError as `score` does.
    """
    truth, probabilities = checked_probabilities(truth, probabilities)
    of_truth = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(of_truth, MIN_PROBABILITY)).mean())


METRIC = Metric("loss", 7, of_probabilities=cross_entropy, shown=False)
