"""Results of made-up runs, for tests of Table 1."""

import numpy as np

from trainer.experiments.report import PAPER, PAPER_TYPES
from trainer.experiments.table import Result
from trainer.runs.predictions import ValidationPredictions

STRATEGIES = tuple(PAPER)


def results(names=PAPER_TYPES, seeds=2, n=60, strategies=STRATEGIES):
    """Runs whose predictions are right about half of the time, each wrong on different samples."""
    rng = np.random.default_rng(len(names))
    labels = rng.permutation(np.arange(n) % len(names))
    ids = tuple(f"s{number}" for number in range(n))
    runs = []
    for seed in range(seeds):
        for strategy in strategies:
            scores = rng.random((n, len(names))) + 0.7 * np.eye(len(names))[labels] * (rng.random((n, 1)) < 0.5)
            predicted = ValidationPredictions(ids, labels, scores / scores.sum(1, keepdims=True), tuple(names))
            runs.append(Result(strategy, seed, predicted, seconds=60.0 * (seed + 1), epochs=4 + seed))
    return runs
