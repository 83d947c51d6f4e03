"""The report of an experiment: Table 1 next to the paper's, the differences between strategies, pictures."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.pictures import own_settings
from trainer.evaluation.bootstrap import RESAMPLES, compare
from trainer.evaluation.metrics import all_metrics, score
from trainer.evaluation.pictures import add_picture, confusion_picture
from trainer.evaluation.report import figure_text, kappa_text
from trainer.experiments.table import Result, Row, csv_row, rows_of
from trainer.runs import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKUP = "|\\`*_<>[]~$&!"  # characters of a name that are Markdown in a cell
# Table 1 of the paper: kappa, then F1 by type.
PAPER_TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")
PAPER = {
    "No PT": (0.17, 0.61, 0.46, 0.0, 0.2, 0.14),
    "PT": (0.35, 0.68, 0.56, 0.09, 0.4, 0.48),
    "PT+CW": (0.30, 0.59, 0.41, 0.37, 0.33, 0.65),
    "PT+CW+AUG": (0.33, 0.59, 0.47, 0.27, 0.54, 0.61),
}


def write_report(
    folder: Path,
    results: Sequence[Result],
    pretraining: Sequence[Result] = (),
    frozen: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Write report.md, table.csv and pictures into `folder`; return the lines of the report. Raises TrainerError.

    A picture that cannot be drawn or written is a `note`.
    """
    rows = rows_of(results)
    files.write_csv(folder / "table.csv", [csv_row(row) | paper_columns(row) for row in rows])
    lines = list(report_lines(rows, pretraining, frozen))
    files.replace(folder / "report.md", ("\n".join(lines) + "\n").encode())
    add_picture(folder / "kappa.png", partial(kappa_picture, rows), note)
    for row in rows:
        add_picture(folder / f"confusion_{_slug(row.strategy)}.png", partial(confusion_picture, row.ensemble), note)
    return lines


def report_lines(rows: Sequence[Row], pretraining: Sequence[Result] = (), frozen: bool = False) -> Iterator[str]:
    """The report in Markdown."""
    seeds, n, paper = len(rows[0].kappas), rows[0].ensemble["n"], has_paper_classes(rows[0])
    yield "# Table 1"
    yield ""
    yield f"Validation on {n} samples{f', means over {seeds} seeds' * (seeds > 1)}. In brackets the 95 % interval when"
    yield f"these samples are drawn again {RESAMPLES:,} times; it does not include other splits or seeds."
    yield "Minutes count the training steps of one seed."
    if frozen:
        yield "The backbone stayed frozen throughout, on cached features; the paper fine-tunes all layers."
    if paper:
        yield "The paper's results, on its own data, are in italics."
    yield ""
    yield from _table(rows, paper)
    yield ""
    yield from _differences(rows)
    if seeds > 1:
        yield from _seeds(rows)
    if pretraining:
        yield from _pretraining(pretraining)
    yield "## Pictures"
    yield ""
    yield "![kappa of each strategy](kappa.png)"
    yield ""
    yield f"Confusion matrices{', of the ensembles' * (seeds > 1)}:"
    for row in rows:
        yield ""
        yield f"{row.strategy}: ![confusion matrix](confusion_{_slug(row.strategy)}.png)"


def has_paper_classes(row: Row) -> bool:
    """True where the classes are those of the paper, so that its figures can be compared."""
    return row.class_names == PAPER_TYPES


def _table(rows: Sequence[Row], paper: bool) -> Iterator[str]:
    metrics = {name: metric for name, metric in all_metrics().items() if metric.shown and name != "kappa"}
    classes = [(name, label) for name, metric in metrics.items() if metric.per_class for label in rows[0].class_names]
    others = [name for name, metric in metrics.items() if not metric.per_class]
    headers = [*(f"{metrics[name].title} {_cell(label)}" for name, label in classes)]
    headers += [*(metrics[name].title for name in others), "epochs", "minutes"]
    yield _line("strategy", "kappa", *headers)
    yield _line(*["---"] * (len(headers) + 2))
    for row in rows:
        cells = [_kappa_cell(row), *(f"{row.scores[name][label]:.2f}" for name, label in classes)]
        cells += [_score_cell(row, name) for name in others]
        yield _line(row.strategy, *cells, f"{row.epochs:.0f}", f"{row.minutes:.1f}")
        if paper:
            yield _line("*paper*", *_paper_cells(row.strategy, classes), *[""] * (len(others) + 2))


def _score_cell(row: Row, name: str) -> str:
    value = figure_text(row.scores[name])
    return f"{value} {_interval(row.intervals[name])}".rstrip() if name in row.intervals else value


def _paper_cells(strategy: str, classes: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The paper's kappa and F1; it has no other figures by class."""
    kappa, *f1 = PAPER[strategy]
    yield f"*{kappa:.2f}*"
    for name, label in classes:
        yield f"*{f1[PAPER_TYPES.index(label)]:.2f}*" if name == "f1" else ""


def _kappa_cell(row: Row) -> str:
    """The mean kappa with its interval, or with the reason where no seed has one."""
    value = figure_text(row.kappa)
    if not all(row.remarks):
        return f"{value} {_interval(row.intervals['kappa'])}".rstrip()
    return f"{value} ({_cell(row.remarks[0])})" if len({*row.remarks}) == 1 else value


def _differences(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Differences between strategies"
    yield ""
    yield "Differences in kappa, with the same samples drawn again for both; p is two-sided, for each pair alone."
    yield ""
    yield _line("from", "to", "difference", "95 % interval", "p")
    yield _line(*["---"] * 5)
    for before, after in combinations(rows, 2):
        low, high, p = compare(before.resamples, after.resamples)
        gain = figure_text(after.kappa - before.kappa, "+.3f")
        ends = "all resamples equal" if low == high else f"{low:+.3f} to {high:+.3f}"
        yield _line(before.strategy, after.strategy, gain, "" if math.isnan(p) else ends, figure_text(p, ".3f"))
    yield ""


def _seeds(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Kappa of each seed, and of the ensemble"
    yield ""
    yield "The ensemble averages the seeds' probabilities."
    yield ""
    count = len(rows[0].kappas)
    yield _line("strategy", *(f"seed {number}" for number in range(count)), "ensemble")
    yield _line(*["---"] * (count + 2))
    for row in rows:
        seeds = (
            figure_text(value, ".3f") + (f" ({_cell(reason)})" if reason else "")
            for value, reason in zip(row.kappas, row.remarks, strict=True)
        )
        yield _line(row.strategy, *seeds, _kappa_of_run(row.ensemble, ".3f"))
    yield ""


def _pretraining(results: Sequence[Result]) -> Iterator[str]:
    yield "## Pretraining"
    yield ""
    yield _line("seed", "kappa", "epochs", "minutes")
    yield _line(*["---"] * 4)
    for result in results:
        metrics = score(result.predicted.labels, result.predicted.probabilities, result.predicted.class_names)
        yield _line(str(result.seed), _kappa_of_run(metrics), str(result.epochs), f"{result.seconds / 60:.1f}")
    yield ""


def _kappa_of_run(metrics: Mapping[str, Any], spec: str = ".2f") -> str:
    """Kappa with its interval, or why it has none, as a cell can hold it."""
    return kappa_text({**metrics, "class_names": [_cell(name) for name in metrics["class_names"]]}, spec)


def _line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def _interval(ends: Sequence[float]) -> str:
    """`ends` in brackets; "" where they are equal."""
    return "" if ends[0] == ends[1] else f"[{ends[0]:.2f}, {ends[1]:.2f}]"


@own_settings()
def kappa_picture(rows: Sequence[Row]) -> "Figure":
    """Kappa of each strategy with its interval; dots for single seeds, crosses for the paper's results."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.8), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    middle = np.array([row.kappa for row in rows])
    ends = np.array([row.intervals["kappa"] for row in rows]).T
    seeds = np.array([row.kappas for row in rows])
    axes.axhline(0, color="0.8", zorder=0)
    axes.errorbar(places, middle, np.abs(ends - middle), fmt="o", capsize=5, color="C0", label="mean, 95 % interval")
    if seeds.shape[1] > 1:
        axes.plot(np.repeat(places + 0.12, seeds.shape[1]), seeds.ravel(), ".", color="0.5", label="each seed")
    if has_paper_classes(rows[0]):
        axes.plot(places - 0.12, [PAPER[row.strategy][0] for row in rows], "x", color="C3", label="paper, its own data")
    axes.set_xticks(places, [row.strategy + "\nundefined" * math.isnan(row.kappa) for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel("kappa")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
    return figure


def paper_columns(row: Row) -> dict[str, float]:
    """The paper's figures for the line of table.csv, where the classes are its own."""
    if not has_paper_classes(row):
        return {}
    kappa, *f1 = PAPER[row.strategy]
    return {"paper_kappa": kappa} | {f"paper_f1 {name}": value for name, value in zip(PAPER_TYPES, f1, strict=True)}


def _slug(name: str) -> str:
    return name.lower().replace("+", "_").replace(" ", "_")


def _cell(text: str) -> str:
    """`text` with Markdown and line breaks escaped, so that it stays in its cell."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return "".join(f"\\{char}" if char in MARKUP else char for char in shown)
