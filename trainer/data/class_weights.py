"""Weights of classes in the loss, so that rare classes count as much as frequent ones (ViPTT-Net §2.4)."""

import numpy as np

from trainer.errors import TrainerError


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float64 (classes,): n / (k · n_c), "balanced" over the k classes that have samples; 0 for other classes.

    Labels of -1 do not count. Raises TrainerError for a label beyond `classes`.
    """
    labels = np.asarray(labels, np.int64)
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    if counts.size > classes:
        raise TrainerError(f"label {counts.size - 1} among {classes} classes; expected 0 to {classes - 1}")
    shares = np.count_nonzero(counts) * counts
    return np.divide(counts.sum(), shares, out=np.zeros(classes), where=shares > 0)
