"""All metrics of a set of predictions: the contents of metrics.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cache.registry import load, names
from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import RESAMPLES, interval, resample
from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import checked_probabilities, confusion_matrix

SCORES = "trainer.evaluation.scores"


def all_metrics() -> dict[str, Metric]:
    """Every metric by its name in metrics.json, in the order of reports."""
    metrics = {name: load(SCORES, name, "METRIC") for name in names(SCORES)}
    return dict(sorted(metrics.items(), key=lambda pair: (pair[1].position, pair[0])))


def score(truth: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Every metric of int labels (n,) and probabilities (n, k), in numbers, lists and names that JSON has; no NaN.

    The prediction for a case is its most probable class, the first of equal ones. `confusion` has the truth in its
    rows. `ci95` has [low, high] for each metric of the confusion matrix, by class name where the metric is per class.
    An undefined value is None, its interval [None, None]. Raises TrainerError where there are no cases, a probability
    is not finite, or names, labels and probabilities do not fit together.
    """
    truth, probabilities = checked_probabilities(truth, probabilities)
    classes = list(class_names)
    if len(set(classes)) != probabilities.shape[1] or len(classes) != len(set(classes)):
        raise TrainerError(
            f"class names {', '.join(classes)} for {probabilities.shape[1]} probabilities; expected one name each"
        )
    confusion = confusion_matrix(truth, probabilities.argmax(1), len(classes))
    metrics = all_metrics()
    statistics = {name: metric.of_tally for name, metric in metrics.items() if metric.of_tally}
    resamples = dict(zip(statistics, resample(confusion, [*statistics.values()], RESAMPLES, seed), strict=True))
    values: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name, metric in metrics.items():
        if metric.of_tally:
            values[name] = _plain(metric.of_tally(confusion), classes)
            intervals[name] = _ends(interval(resamples[name]), classes)
        elif metric.of_probabilities:
            value = metric.of_probabilities(truth, probabilities)
            values[name] = None if value is None else _plain(value, classes)
    rest = {"ci95": intervals, "confusion": confusion.tolist(), "class_names": classes, "n": len(truth)}
    return values | rest


def _plain(value: Any, classes: Sequence[str]) -> Any:
    """A number, or a number by class name; None where it is undefined."""
    if np.ndim(value):
        return {name: _plain(one, classes) for name, one in zip(classes, value, strict=True)}
    return None if np.isnan(value) else float(value)


def _ends(ends: tuple[Any, Any], classes: Sequence[str]) -> Any:
    """[low, high], or one by class name."""
    if np.ndim(ends[0]):
        return {name: _ends((low, high), classes) for name, low, high in zip(classes, *ends, strict=True)}
    return [_plain(end, classes) for end in ends]
