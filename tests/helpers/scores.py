"""Metrics and a training history like those of a run."""

import numpy as np

from trainer.evaluation.metrics import score

TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")


def metrics(names, n=300):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, len(names), n)
    probabilities = generator.random((n, len(names)))
    probabilities[np.arange(n), truth] += 0.6
    return score(truth, probabilities / probabilities.sum(1, keepdims=True), names)


def history(epochs):
    losses = 1 + np.cos(np.arange(epochs))
    columns = {"loss": losses, "accuracy": 1 - losses / 2, "val_loss": losses + 0.1, "val_accuracy": 1 - losses / 2}
    rows = [{"epoch": n + 1} | {name: float(values[n]) for name, values in columns.items()} for n in range(epochs)]
    return [row | {"val_kappa": 2 * row["val_accuracy"] - 1} for row in rows]
