"""The report of an experiment: Table 1 beside the paper's, what tells strategies apart, pictures."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from trainer import files
from trainer.errors import TrainerError
from trainer.metrics import PERCENTILES, accuracy, compare, confusion_matrix, f1, kappa, resampled, score
from trainer.report import confusion_picture, write_picture
from trainer.run import Predicted, read_predictions

# Table 1 of the paper: kappa, then F1 by type.
PAPER_TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")
PAPER = {
    "No PT": (0.17, 0.61, 0.46, 0.0, 0.2, 0.14),
    "PT": (0.35, 0.68, 0.56, 0.09, 0.4, 0.48),
    "PT+CW": (0.30, 0.59, 0.41, 0.37, 0.33, 0.65),
    "PT+CW+AUG": (0.33, 0.59, 0.47, 0.27, 0.54, 0.61),
}


@dataclass(frozen=True)
class Result:
    """One finished run: its strategy and seed, what it predicts for the validation cases, and what it took."""

    strategy: str
    seed: int
    predicted: Predicted
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Row:
    """One strategy over all seeds. Statistics are means over the seeds; intervals redraw the cases, the same for all.

    `kappas` are the seeds' own; `resamples` the mean kappa of each resample; `ensemble` the metrics of the mean
    probabilities.
    """

    strategy: str
    kappa: float
    kappa95: tuple[float, float]
    kappas: tuple[float, ...]
    accuracy: float
    accuracy95: tuple[float, float]
    f1: dict[str, float]
    f195: dict[str, tuple[float, float]]
    resamples: np.ndarray
    ensemble: dict[str, Any]
    minutes: float
    epochs: float


def read_result(strategy: str, seed: int, run: Path) -> Result:
    """What a finished run left."""
    try:
        with (run / "timings.csv").open(newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise TrainerError(f"{run}/timings.csv is not that of a run ({error}); restore it, or train again") from error
    return Result(strategy, seed, read_predictions(run), sum(seconds), len(seconds))


def write_report(folder: Path, results: Sequence[Result], order: Sequence[str]) -> list[str]:
    """Write report.md, table.csv and pictures into `folder`; return the lines of the report."""
    rows = [_row(name, [result for result in results if result.strategy == name]) for name in order]
    write_picture(folder / "kappa.png", kappa_picture(rows))
    for row in rows:
        write_picture(folder / f"confusion_{_slug(row.strategy)}.png", confusion_picture(row.ensemble))
    _write_table(folder / "table.csv", rows)
    lines = list(report_lines(rows))
    files.replace(folder / "report.md", ("\n".join(lines) + "\n").encode())
    return lines


def _row(strategy: str, results: Sequence[Result]) -> Row:
    first = results[0].predicted
    for result in results[1:]:
        if result.predicted.ids != first.ids:
            raise TrainerError(f"the runs of {strategy} were judged on different samples; choose another DIR")
    names, truth = first.class_names, first.labels
    chosen = [result.predicted.probabilities.argmax(axis=1) for result in results]
    matrices = np.array([confusion_matrix(truth, some, len(names)) for some in chosen])
    redrawn = {stat: resampled(truth, chosen, len(names), stat).mean(axis=0) for stat in (kappa, accuracy, f1)}
    ends = {stat: np.percentile(values, PERCENTILES, axis=0) for stat, values in redrawn.items()}
    mean = np.mean([result.predicted.probabilities for result in results], axis=0)
    return Row(
        strategy,
        kappa=float(kappa(matrices).mean()),
        kappa95=_ends(ends[kappa]),
        kappas=tuple(kappa(matrices).tolist()),
        accuracy=float(accuracy(matrices).mean()),
        accuracy95=_ends(ends[accuracy]),
        f1=dict(zip(names, f1(matrices).mean(axis=0).tolist(), strict=True)),
        f195={name: _ends(ends[f1][:, number]) for number, name in enumerate(names)},
        resamples=redrawn[kappa],
        ensemble=score(truth, mean, names),
        minutes=sum(result.seconds for result in results) / 60,
        epochs=float(np.mean([result.epochs for result in results])),
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def report_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The report in Markdown."""
    names, seeds, n = list(rows[0].f1), len(rows[0].kappas), rows[0].ensemble["n"]
    beside = tuple(names) == PAPER_TYPES
    yield "# Table 1"
    yield ""
    yield f"Validation on {n} samples, the mean of {seeds} seed{'s' * (seeds > 1)}; in brackets the 95 % interval when"
    yield "the cases are redrawn 2,000 times. It does not hold what another split would change."
    if beside:
        yield "In italics the paper's figures, on its own data."
    yield ""
    yield from _table(rows, names, beside)
    yield ""
    yield "## What a step changes"
    yield ""
    yield "Kappa against the strategy above, on the same resamples of the cases."
    yield ""
    yield "| step | difference | 95 % interval | p |"
    yield "| --- | --- | --- | --- |"
    for before, after in pairwise(rows):
        low, high, p = compare(before.resamples, after.resamples)
        gain = after.kappa - before.kappa
        yield f"| {before.strategy} → {_cell(after.strategy)} | {gain:+.3f} | {low:+.3f} to {high:+.3f} | {p:.3f} |"
    yield ""
    if seeds > 1:
        yield "## Each seed's kappa, and that of the ensemble"
        yield ""
        yield "The ensemble averages the seeds' probabilities."
        yield ""
        yield f"| strategy | {' | '.join(f'seed {number}' for number in range(seeds))} | ensemble |"
        yield f"| --- |{' --- |' * (seeds + 1)}"
        for row in rows:
            each = " | ".join(f"{value:.3f}" for value in row.kappas)
            low, high = row.ensemble["ci95"]["kappa"]
            yield f"| {row.strategy} | {each} | {row.ensemble['kappa']:.3f} [{low:.2f}, {high:.2f}] |"
        yield ""
    yield "![kappa](kappa.png)"
    yield ""
    yield " ".join(f"![confusion, {row.strategy}](confusion_{_slug(row.strategy)}.png)" for row in rows)


def _table(rows: Sequence[Row], names: Sequence[str], beside: bool) -> Iterator[str]:
    yield f"| strategy | kappa | {' | '.join(f'F1 {_cell(name)}' for name in names)} | accuracy | epochs | minutes |"
    yield f"| --- |{' --- |' * (len(names) + 4)}"
    for row in rows:
        cells = [f"{row.kappa:.2f} [{row.kappa95[0]:.2f}, {row.kappa95[1]:.2f}]"]
        cells += [f"{value:.2f}" for value in row.f1.values()]
        cells.append(f"{row.accuracy:.2f} [{row.accuracy95[0]:.2f}, {row.accuracy95[1]:.2f}]")
        cells += [f"{row.epochs:.0f}", f"{row.minutes:.1f}"]
        yield f"| {row.strategy} | {' | '.join(cells)} |"
        if beside:
            yield f"| *paper* | {' | '.join(f'*{value:.2f}*' for value in PAPER[row.strategy])} | | | |"


def kappa_picture(rows: Sequence[Row]) -> Figure:
    """Kappa of each strategy with its interval, the seeds' own as dots, the paper's as crosses."""
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    middle = np.array([row.kappa for row in rows])
    ends = np.array([row.kappa95 for row in rows]).T
    axes.errorbar(places, middle, np.abs(ends - middle), fmt="o", capsize=5, color="C0", label="mean, 95 % interval")
    for place, row in zip(places, rows, strict=True):
        axes.plot(
            np.full(len(row.kappas), place + 0.12),
            row.kappas,
            ".",
            color="0.6",
            label="each seed" if place == 0 else "",
        )
    if tuple(rows[0].f1) == PAPER_TYPES:
        axes.plot(places - 0.12, [PAPER[row.strategy][0] for row in rows], "x", color="C3", label="paper, its own data")
    axes.axhline(0, color="0.8", zorder=0)
    axes.set_xticks(places, [row.strategy for row in rows])
    axes.set_ylabel("kappa")
    axes.legend(fontsize="small")
    return figure


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    flat = []
    for row in rows:
        values: dict[str, Any] = {"strategy": row.strategy, "kappa": row.kappa}
        values |= {"kappa_low": row.kappa95[0], "kappa_high": row.kappa95[1], "accuracy": row.accuracy}
        values |= {"accuracy_low": row.accuracy95[0], "accuracy_high": row.accuracy95[1]}
        for name, value in row.f1.items():
            low, high = row.f195[name]
            values |= {f"f1 {name}": value, f"f1 {name} low": low, f"f1 {name} high": high}
        values |= {"seeds": len(row.kappas), "epochs": row.epochs, "minutes": row.minutes}
        flat.append(values)
    files.write_csv(path, flat)


def _slug(name: str) -> str:
    return name.lower().replace("+", "_").replace(" ", "_")


def _cell(text: str) -> str:
    """`text` such that it stays within its cell of a table, and is no markup."""
    return "".join(f"\\{char}" if char in "|\\`*_<>[]" else char for char in text)
