"""What a run tells people: pictures and lines."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from trainer import files

SHADED = 0.5  # of the row's total: cells above have white figures
MOST_STALLED = 0.05  # of an epoch spent waiting for data, before something should be changed


def curves_picture(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss, and agreement with the labels, over the epochs; the best epoch is marked."""
    epochs = [row["epoch"] for row in history]
    best = min(history, key=lambda row: row["val_loss"])["epoch"]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, agreement = figure.subplots(1, 2)
    panels = (
        (loss, "loss", ("loss", "val_loss")),
        (agreement, "agreement", ("accuracy", "val_accuracy", "val_kappa")),
    )
    for axes, title, names in panels:
        for name in names:
            axes.plot(epochs, [row[name] for row in history], marker="." if len(epochs) < 30 else "", label=name)
        axes.axvline(best, color="0.6", linestyle=":", label=f"lowest val_loss, epoch {best:g}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.legend(fontsize="small")
    return figure


def confusion_picture(metrics: Mapping[str, Any]) -> Figure:
    """The confusion matrix of `metrics` (as in metrics.json), counts on shares of each row."""
    names, counts = metrics["class_names"], np.array(metrics["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.6 * len(names)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > SHADED else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    low, high = metrics["ci95"]["kappa"]
    axes.set_title(f"kappa {metrics['kappa']:.2f} [{low:.2f}, {high:.2f}], n = {metrics['n']}", fontsize="medium")
    figure.colorbar(image, ax=axes, label="share of the labelled", shrink=0.8)
    return figure


def metrics_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Kappa and accuracy with their intervals, F1 by class, and the confusion matrix."""
    for name in ("kappa", "accuracy"):
        low, high = metrics["ci95"][name]
        yield f"{name:9} {metrics[name]:6.3f}   95 % interval {low:.3f} to {high:.3f}"
    if metrics.get("auc") is not None:
        yield f"AUC       {metrics['auc']:6.3f}"
    yield f"n         {metrics['n']:6}"
    names, counts = metrics["class_names"], metrics["confusion"]
    width = max(len(name) for name in (*names, "labelled"))
    yield ""
    yield f"{'labelled':{width}}     F1   predicted {', '.join(names)}"
    for name, row in zip(names, counts, strict=True):
        yield f"{name:{width}}  {metrics['f1'][name]:5.2f}   {' '.join(f'{count:4}' for count in row)}"


def epoch_line(row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> str:
    """One epoch in a line."""
    return (
        f"epoch {row['epoch']:g}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.3f}  "
        f"val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.3f}  val_kappa {row['val_kappa']:.3f}  "
        f"{timing['seconds']:.1f} s, {timing['stalled']:.0%} waiting for data"
    )


def stall_advice(timing: Mapping[str, float]) -> str:
    """What to change where an epoch waited for data; "" where it hardly did."""
    if timing["stalled"] <= MOST_STALLED:
        return ""
    return (
        f"More than {MOST_STALLED:.0%} of an epoch was spent waiting for data: raise --readers, or keep the cache on a "
        "faster disk"
    )


def write_picture(path: Path, figure: Figure) -> None:
    """Write `figure` as a PNG, as a whole or not at all."""
    files.replace_by(path, partial(figure.savefig, format="png", dpi=100))
