"""What a run tells people: pictures and lines."""

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.pictures import own_settings
from trainer.errors import TrainerError
from trainer.runs import files
from trainer.runs.marks import PARTIAL, SOFTWARE, check_replaceable, is_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTED = 30  # classes whose counts can be read in a picture
MOST_CHARACTERS = 24  # of a class's name there
SHADED = 0.5  # of the row's total: cells above have white figures
ACCURACY_REMARKS = {0: "no case is right", 1: "every case is right"}  # why it has no interval
MOST_STALLED = 0.05  # of an epoch spent waiting for data, before something should be changed


@own_settings()
def curves_picture(history: Sequence[Mapping[str, float]]) -> "Figure":
    """Loss, and agreement with the labels, over the epochs; the best epoch is marked. An undefined kappa is a gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    loss, agreement = figure.subplots(1, 2)
    _curves(loss, "loss", history, ("loss", "val_loss"))
    _curves(agreement, "agreement", history, ("accuracy", "val_accuracy", "val_kappa"))
    agreement.set_ylim(np.nanmin([0, *(row["val_kappa"] for row in history)]) - 0.04, 1.04)
    return figure


def _curves(axes: "Axes", title: str, history: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    best = min(history, key=lambda row: row["val_loss"])["epoch"]
    for name in names:
        axes.plot(epochs, [row[name] for row in history], marker="o" if len(epochs) < 30 else "", ms=4, label=name)
    axes.axvline(best, color="0.6", linestyle=":", zorder=0, label=f"lowest val_loss, epoch {best:g}")
    axes.set_xlim(0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(title)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize="small")


@own_settings()
def confusion_picture(metrics: Mapping[str, Any]) -> "Figure":
    """The confusion matrix of `metrics` (as in metrics.json), counts on shares of each row; of many classes no counts.

    At most 14 inches a side, however many classes there are and whatever they are called.
    """
    from matplotlib.figure import Figure

    names, counts = [_shown(name) for name in metrics["class_names"]], np.array(metrics["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(0.6, 10 / len(names))  # inches
    side, beside = max(2.2, cell * len(names)), 0.8 + 0.09 * max(map(len, names))
    figure = Figure(figsize=(side + beside + 0.9, side + 0.75 * beside + 0.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    if len(names) <= MOST_COUNTED:
        _write_counts(axes, counts, shares, points=min(10, 72 * cell / (0.7 * len(str(counts.max())))))
    text: dict[str, Any] = {"fontsize": min(10, 60 * cell), "parse_math": False}
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", **text)
    axes.set_yticks(range(len(names)), names, **text)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    title = f"kappa {_with_interval(metrics)}, n = {metrics['n']}"
    if reason := remark(metrics["confusion"], names):
        title += f"\n{reason}"
    axes.set_title(title, fontsize="medium" if "\n" not in title else "small", parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the labelled", shrink=0.8)
    return figure


def _write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray, points: float) -> None:
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > SHADED else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=points)


def _shown(name: str) -> str:
    """A class's name as a picture can hold it: short, and without what no font has."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"


def remark(confusion: Sequence[Sequence[int]] | np.ndarray, class_names: Sequence[str]) -> str:
    """Why kappa is the same or undefined whatever cases are drawn, and so has no interval; "" where it can vary."""
    counts = np.asarray(confusion)
    labelled, predicted = np.flatnonzero(counts.sum(1)), np.flatnonzero(counts.sum(0))
    if len(labelled) == len(predicted) == 1 and labelled == predicted:
        return f"every case is labelled {class_names[labelled[0]]}, and predicted so"
    if len(predicted) == 1:
        return f"predicts {class_names[predicted[0]]} for every case"
    if len(labelled) == 1:
        return f"every case is labelled {class_names[labelled[0]]}"
    return ACCURACY_REMARKS[1] if counts.trace() == counts.sum() else ""


def figure_text(value: float | None, form: str = ".2f") -> str:
    """A score in this format; "undefined" for None and NaN."""
    return "undefined" if value is None or math.isnan(value) else format(value, form)


def kappa_text(metrics: Mapping[str, Any], form: str = ".2f") -> str:
    """Kappa with its 95 % interval, as in "0.53 [0.31, 0.70]", or with the reason why it has none."""
    reason = remark(metrics["confusion"], metrics["class_names"])
    return _with_interval(metrics, form) + (f" ({reason})" if reason else "")


def _with_interval(metrics: Mapping[str, Any], form: str = ".2f") -> str:
    """Kappa with its interval, which is left out where a `remark` says why it has none."""
    value = figure_text(metrics["kappa"], form)
    if remark(metrics["confusion"], metrics["class_names"]):
        return value
    low, high = metrics["ci95"]["kappa"]
    return f"{value} [{low:.2f}, {high:.2f}]"


def metrics_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Kappa and accuracy with their intervals or why there is none, F1 by class, and the confusion matrix."""
    reasons = {
        "kappa": remark(metrics["confusion"], metrics["class_names"]),
        "accuracy": ACCURACY_REMARKS.get(metrics["accuracy"], ""),
    }
    for name in reasons:
        low, high = metrics["ci95"][name]
        reason = reasons[name]
        yield f"{name:9} {figure_text(metrics[name], '6.3f')}   {reason or f'95 % interval {low:.3f} to {high:.3f}'}"
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
        f"val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.3f}  "
        f"val_kappa {figure_text(row['val_kappa'], '.3f')}  "
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


def replace_picture(path: Path, figure: "Figure") -> None:
    """Write `figure` where a user wants it, through a link to the file that it names.

    Raises TrainerError where another file than a picture of ours is there.
    """
    check_replaceable(path, is_picture)
    write_picture(path.resolve(), figure, PARTIAL)


def add_picture(path: Path, draw: Callable[[], "Figure"], note: Callable[[str], None]) -> None:
    """Write the picture that `draw` returns; a failure is a note, for a picture must not cost the results it shows."""
    try:
        write_picture(path, draw())
    except Exception as error:  # noqa: BLE001 - whatever Matplotlib stumbles over
        with suppress(OSError):
            path.unlink()  # of a run that was resumed: it shows what is no longer so
        note(f"no picture: {error}")


@own_settings()
def write_picture(path: Path, figure: "Figure", prefix: str = files.PARTIAL) -> None:
    """Write `figure` as a PNG, as a whole or not at all. Raises TrainerError where that fails."""
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # it becomes a box
        try:
            figure.savefig(png, format="png", dpi=100, metadata={"Software": SOFTWARE})
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise TrainerError(f"cannot draw {path} ({reason}); the numbers are not affected") from error
    files.replace(path, png.getbuffer(), prefix)
