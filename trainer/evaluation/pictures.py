"""Pictures of a run: learning curves and the confusion matrix, and how a picture is written."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.pictures import own_settings
from trainer.errors import TrainerError
from trainer.evaluation.report import kappa_with_interval, remark
from trainer.runs import files
from trainer.runs.marks import PARTIAL, SOFTWARE, check_replaceable, is_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COUNTED = 30  # classes; the counts of more are not readable
MAX_CHARACTERS = 24  # of a class's name
DARK = 0.5  # share of the row's total above which a count is written in white


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
    """The confusion matrix of `metrics`, as in metrics.json: shares of each row in blue, counts for up to 30 classes.

    At most 14 inches wide and high for any number and names of classes.
    """
    from matplotlib.figure import Figure

    names, counts = [_shown(name) for name in metrics["class_names"]], np.array(metrics["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = min(0.6, 10 / len(names))  # inches
    side, margin = max(2.2, cell * len(names)), 0.8 + 0.09 * max(map(len, names))
    figure = Figure(figsize=(side + margin + 0.9, side + 0.75 * margin + 0.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    if len(names) <= MAX_COUNTED:
        _write_counts(axes, counts, shares, points=min(10, 72 * cell / (0.7 * len(str(counts.max())))))
    text: dict[str, Any] = {"fontsize": min(10, 60 * cell), "parse_math": False}
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", **text)
    axes.set_yticks(range(len(names)), names, **text)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    title = f"kappa {kappa_with_interval(metrics)}, n = {metrics['n']}"
    if reason := remark(metrics["confusion"], names):
        title += f"\n{reason}"
    axes.set_title(title, fontsize="medium" if "\n" not in title else "small", parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the labelled", shrink=0.8)
    return figure


def _write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray, points: float) -> None:
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=points)


def _shown(name: str) -> str:
    """A class's name for a picture: short, and without unprintable characters."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"


def replace_picture(path: Path, figure: "Figure") -> None:
    """Write `figure` to a path of the user's choice; a link is followed.

    Raises TrainerError where that would replace a file that is not a picture of ours.
    """
    check_replaceable(path, is_picture)
    write_picture(path.resolve(), figure, PARTIAL)


def add_picture(path: Path, draw: Callable[[], "Figure"], note: Callable[[str], None]) -> None:
    """Write the picture that `draw` returns; a failure is a `note`, since results matter more than their picture."""
    try:
        write_picture(path, draw())
    except Exception as error:  # noqa: BLE001 - anything that Matplotlib may raise
        with suppress(OSError):
            path.unlink()  # outdated, where a run was resumed
        note(f"no picture: {error}")


@own_settings()
def write_picture(path: Path, figure: "Figure", prefix: str = files.PARTIAL) -> None:
    """Write `figure` atomically as a PNG. Raises TrainerError."""
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # such a character becomes a box
        try:
            figure.savefig(png, format="png", dpi=100, metadata={"Software": SOFTWARE})
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise TrainerError(f"cannot draw {path} ({reason}); the numbers are not affected") from error
    files.replace(path, png.getbuffer(), prefix)
