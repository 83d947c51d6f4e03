"""Metrics and epochs of a run as lines of text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.evaluation.metrics import all_metrics

ACCURACY_REMARKS = {0: "no case is right", 1: "every case is right"}  # why it has no interval
MAX_DATA_WAIT = 0.05  # of an epoch spent waiting for data, above which advice is printed


def remark(confusion: Sequence[Sequence[int]] | np.ndarray, class_names: Sequence[str]) -> str:
    """The reason why kappa has no interval: it is the same, or undefined, in all resamples; "" where it varies."""
    counts = np.asarray(confusion)
    labelled, predicted = np.flatnonzero(counts.sum(1)), np.flatnonzero(counts.sum(0))
    if len(labelled) == len(predicted) == 1 and labelled == predicted:
        return f"every case is labelled and predicted as {class_names[labelled[0]]}"
    if len(predicted) == 1:
        return f"predicts {class_names[predicted[0]]} for every case"
    if len(labelled) == 1:
        return f"every case is labelled {class_names[labelled[0]]}"
    return ACCURACY_REMARKS[1] if counts.trace() == counts.sum() else ""


def figure_text(value: float | None, spec: str = ".2f") -> str:
    """A score in this format; "undefined" for None and NaN."""
    return "undefined" if value is None or math.isnan(value) else format(value, spec)


def kappa_text(metrics: Mapping[str, Any], spec: str = ".2f") -> str:
    """Kappa with its 95 % interval, as in "0.53 [0.31, 0.70]", or with the reason why it has none."""
    reason = remark(metrics["confusion"], metrics["class_names"])
    return kappa_with_interval(metrics, spec) + (f" ({reason})" if reason else "")


def kappa_with_interval(metrics: Mapping[str, Any], spec: str = ".2f") -> str:
    """Kappa with its interval, which is left out where a `remark` says why it has none."""
    value = figure_text(metrics["kappa"], spec)
    if remark(metrics["confusion"], metrics["class_names"]):
        return value
    low, high = metrics["ci95"]["kappa"]
    return f"{value} [{low:.2f}, {high:.2f}]"


def metrics_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Each metric with its interval, or the reason why it has none; then those by class and the confusion matrix.

    Undefined metrics are left out, except kappa, as are those that metrics.json of an earlier version does not have.
    """
    shown = {
        name: metric
        for name, metric in all_metrics().items()
        if metric.shown and (metrics.get(name) is not None or name == "kappa")
    }
    single = {name: metric for name, metric in shown.items() if not metric.per_class}
    reasons = {
        "kappa": remark(metrics["confusion"], metrics["class_names"]),
        "accuracy": ACCURACY_REMARKS.get(metrics["accuracy"], ""),
    }
    width = max(len(metric.title) for metric in single.values())
    for name, metric in single.items():
        ends = metrics["ci95"].get(name)
        interval = f"95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends and ends[0] != ends[1] else ""
        yield f"{metric.title:{width}} {figure_text(metrics[name], '6.3f')}   {reasons.get(name) or interval}".rstrip()
    yield f"{'n':{width}} {metrics['n']:6}"
    yield ""
    yield from _class_lines(metrics, [name for name, metric in shown.items() if metric.per_class])


def _class_lines(metrics: Mapping[str, Any], by_class: Sequence[str]) -> Iterator[str]:
    names, counts, titles = metrics["class_names"], metrics["confusion"], all_metrics()
    width = max(len(name) for name in (*names, "labelled"))
    headers = "".join(f"  {titles[name].title:>5}" for name in by_class)
    yield f"{'labelled':{width}}{headers}   predicted {', '.join(names)}"
    for label, row in zip(names, counts, strict=True):
        scores = "".join(f"  {metrics[name][label]:5.2f}" for name in by_class)
        yield f"{label:{width}}{scores}   {' '.join(f'{count:4}' for count in row)}"


def epoch_line(row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> str:
    """One epoch in a line."""
    return (
        f"epoch {row['epoch']:g}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.3f}  "
        f"val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.3f}  "
        f"val_kappa {figure_text(row['val_kappa'], '.3f')}  "
        f"{timing['seconds']:.1f} s, {timing['data_wait']:.0%} waiting for data"
    )


def stall_advice(timing: Mapping[str, float]) -> str:
    """Advice where an epoch waited for data for more than 5 % of its time; else ""."""
    if timing["data_wait"] <= MAX_DATA_WAIT:
        return ""
    return (
        f"More than {MAX_DATA_WAIT:.0%} of an epoch was spent waiting for data: raise --readers, or keep the cache on "
        "a faster disk"
    )
