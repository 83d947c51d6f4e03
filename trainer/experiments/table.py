"""The report of an experiment: Table 1 beside the paper's, what tells strategies apart, pictures."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.pictures import own_settings
from trainer.errors import TrainerError
from trainer.evaluation.metrics import (
    RESAMPLES,
    accuracy,
    compare,
    confusion_matrix,
    f1,
    interval,
    kappa,
    resampled,
    score,
)
from trainer.evaluation.report import add_picture, confusion_picture, figure_text, kappa_text, remark
from trainer.runs import files, manifest
from trainer.runs.folder import Predicted, read_predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKUP = "|\\`*_<>[]~$&!"  # what of a name Markdown would take for its own, in a cell
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

    `kappas` are the seeds' own; `remarks` say of each seed why its kappa has no interval, "" where it has;
    `resamples` is the mean kappa of each resample, float64 (2000,); `ensemble` the metrics of the mean probabilities,
    as in metrics.json; `minutes` and `epochs` are means over the seeds too. An undefined kappa is NaN, and so are a
    mean over it and the ends of an interval without resamples.
    """

    strategy: str
    kappa: float
    kappa95: tuple[float, float]
    kappas: tuple[float, ...]
    remarks: tuple[str, ...]
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
    data = manifest.read(run / "timings.csv", "timings.csv of a run")
    try:
        seconds = [float(row["seconds"]) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise TrainerError(f"{run}/timings.csv is not that of a run ({error}); restore it, or train again") from error
    return Result(strategy, seed, read_predictions(run), sum(seconds), len(seconds))


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
    files.write_csv(folder / "table.csv", [_flat(row) for row in rows])
    lines = list(report_lines(rows, pretraining, frozen))
    files.replace(folder / "report.md", ("\n".join(lines) + "\n").encode())
    add_picture(folder / "kappa.png", partial(kappa_picture, rows), note)
    for row in rows:
        add_picture(folder / f"confusion_{_slug(row.strategy)}.png", partial(confusion_picture, row.ensemble), note)
    return lines


def rows_of(results: Sequence[Result]) -> list[Row]:
    """One row a strategy, in the order in which they first come. Raises TrainerError unless all have the same cases."""
    first = results[0].predicted
    for result in results[1:]:
        if not _is_same(result.predicted, first):
            raise TrainerError(
                f"{result.strategy} of seed {result.seed} was judged on other cases, labels or classes than "
                f"{results[0].strategy} of seed {results[0].seed}; choose another DIR"
            )
    chosen = [result.predicted.probabilities.argmax(axis=1) for result in results]
    # All at once: only then does a resample hold the same cases for every strategy.
    redrawn = {each: resampled(first.labels, chosen, len(first.class_names), each) for each in (kappa, accuracy, f1)}
    rows = []
    for strategy in dict.fromkeys(result.strategy for result in results):
        numbers = [number for number, result in enumerate(results) if result.strategy == strategy]
        means = {each: values[numbers].mean(axis=0) for each, values in redrawn.items()}
        rows.append(_row(strategy, [results[number] for number in numbers], means))
    return rows


def _is_same(one: Predicted, other: Predicted) -> bool:
    return (one.ids, one.class_names, one.labels.tolist()) == (other.ids, other.class_names, other.labels.tolist())


def _row(strategy: str, results: Sequence[Result], redrawn: Mapping[Callable[..., Any], np.ndarray]) -> Row:
    """`redrawn` is the mean over the seeds of each statistic, (resamples, …)."""
    names, truth = results[0].predicted.class_names, results[0].predicted.labels
    probabilities = np.array([result.predicted.probabilities for result in results])
    matrices = np.array([confusion_matrix(truth, some, len(names)) for some in probabilities.argmax(axis=2)])
    ends = {each: np.array(interval(values)) for each, values in redrawn.items()}
    return Row(
        strategy,
        kappa=float(kappa(matrices).mean()),
        kappa95=_ends(ends[kappa]),
        kappas=tuple(kappa(matrices).tolist()),
        remarks=tuple(remark(matrix, names) for matrix in matrices),
        accuracy=float(accuracy(matrices).mean()),
        accuracy95=_ends(ends[accuracy]),
        f1=dict(zip(names, f1(matrices).mean(axis=0).tolist(), strict=True)),
        f195={name: _ends(ends[f1][:, number]) for number, name in enumerate(names)},
        resamples=redrawn[kappa],
        ensemble=score(truth, probabilities.mean(axis=0), names),
        minutes=float(np.mean([result.seconds for result in results])) / 60,
        epochs=float(np.mean([result.epochs for result in results])),
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def report_lines(rows: Sequence[Row], pretraining: Sequence[Result] = (), frozen: bool = False) -> Iterator[str]:
    """The report in Markdown."""
    seeds, n, beside = len(rows[0].kappas), rows[0].ensemble["n"], _is_papers(rows)
    yield "# Table 1"
    yield ""
    yield f"Validation on {n} samples{f', means over {seeds} seeds' * (seeds > 1)}. In brackets the 95 % interval when"
    yield f"these samples are redrawn {RESAMPLES:,} times; what another split or other seeds would change is not in it."
    yield "Minutes are of training's steps alone, for one seed."
    if frozen:
        yield "The backbone stayed frozen throughout, on cached features; the paper fine-tunes all layers."
    if beside:
        yield "In italics the paper's figures, on its own data."
    yield ""
    yield from _table(rows, beside)
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


def _is_papers(rows: Sequence[Row]) -> bool:
    """True where the classes are those of the paper, so that its figures can stand beside."""
    return tuple(rows[0].f1) == PAPER_TYPES


def _table(rows: Sequence[Row], beside: bool) -> Iterator[str]:
    heads = [*(f"F1 {_cell(name)}" for name in rows[0].f1), "accuracy", "epochs", "minutes"]
    yield _line("strategy", "kappa", *heads)
    yield _line(*["---"] * (len(heads) + 2))
    for row in rows:
        cells = [_kappa_cell(row), *(f"{value:.2f}" for value in row.f1.values())]
        cells += [f"{row.accuracy:.2f} {_interval(row.accuracy95)}".rstrip(), f"{row.epochs:.0f}", f"{row.minutes:.1f}"]
        yield _line(row.strategy, *cells)
        if beside:
            yield _line("*paper*", *(f"*{value:.2f}*" for value in PAPER[row.strategy]), "", "", "")


def _kappa_cell(row: Row) -> str:
    """The mean kappa with its interval, which it has unless no seed's kappa can vary."""
    value = figure_text(row.kappa)
    if not all(row.remarks):
        return f"{value} {_interval(row.kappa95)}".rstrip()
    return f"{value} ({_cell(row.remarks[0])})" if len({*row.remarks}) == 1 else value


def _differences(rows: Sequence[Row]) -> Iterator[str]:
    yield "## What tells strategies apart"
    yield ""
    yield "Differences in kappa, with the same samples redrawn for both; p is two-sided, for each pair alone."
    yield ""
    yield _line("from", "to", "difference", "95 % interval", "p")
    yield _line(*["---"] * 5)
    for before, after in combinations(rows, 2):
        low, high, p = compare(before.resamples, after.resamples)
        gain = figure_text(after.kappa - before.kappa, "+.3f")
        ends = "every resample alike" if low == high else f"{low:+.3f} to {high:+.3f}"
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
        found = score(result.predicted.labels, result.predicted.probabilities, result.predicted.class_names)
        yield _line(str(result.seed), _kappa_of_run(found), str(result.epochs), f"{result.seconds / 60:.1f}")
    yield ""


def _kappa_of_run(metrics: Mapping[str, Any], form: str = ".2f") -> str:
    """Kappa with its interval, or why it has none, as a cell can hold it."""
    return kappa_text({**metrics, "class_names": [_cell(name) for name in metrics["class_names"]]}, form)


def _line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def _interval(ends: Sequence[float]) -> str:
    """`ends` in brackets; nothing where every resample is alike."""
    return "" if ends[0] == ends[1] else f"[{ends[0]:.2f}, {ends[1]:.2f}]"


@own_settings()
def kappa_picture(rows: Sequence[Row]) -> "Figure":
    """Kappa of each strategy with its interval, the seeds' own as dots, the paper's as crosses."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.8), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    middle = np.array([row.kappa for row in rows])
    ends = np.array([row.kappa95 for row in rows]).T
    seeds = np.array([row.kappas for row in rows])
    axes.axhline(0, color="0.8", zorder=0)
    axes.errorbar(places, middle, np.abs(ends - middle), fmt="o", capsize=5, color="C0", label="mean, 95 % interval")
    if seeds.shape[1] > 1:
        axes.plot(np.repeat(places + 0.12, seeds.shape[1]), seeds.ravel(), ".", color="0.5", label="each seed")
    if _is_papers(rows):
        axes.plot(places - 0.12, [PAPER[row.strategy][0] for row in rows], "x", color="C3", label="paper, its own data")
    axes.set_xticks(places, [row.strategy + "\nundefined" * math.isnan(row.kappa) for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel("kappa")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
    return figure


def _flat(row: Row) -> dict[str, Any]:
    """What table.csv holds of a strategy. No two columns can have one name, whatever classes are called."""
    flat: dict[str, Any] = {"strategy": row.strategy, "seeds": len(row.kappas), "kappa": row.kappa}
    flat |= _ends_of("kappa", row.kappa95)
    flat |= {"accuracy": row.accuracy} | _ends_of("accuracy", row.accuracy95)
    ensemble = [math.nan if x is None else x for x in (row.ensemble["kappa"], *row.ensemble["ci95"]["kappa"])]
    flat |= {"ensemble_kappa": ensemble[0]} | _ends_of("ensemble_kappa", ensemble[1:])
    flat |= {"epochs": row.epochs, "minutes": row.minutes}
    for name, value in row.f1.items():
        flat |= {f"f1 {name}": value, f"f1_low {name}": row.f195[name][0], f"f1_high {name}": row.f195[name][1]}
    if _is_papers([row]):
        paper = PAPER[row.strategy]
        flat |= {"paper_kappa": paper[0]}
        flat |= {f"paper_f1 {name}": value for name, value in zip(PAPER_TYPES, paper[1:], strict=True)}
    return flat


def _ends_of(name: str, ends: Sequence[float]) -> dict[str, float]:
    return {f"{name}_low": ends[0], f"{name}_high": ends[1]}


def _slug(name: str) -> str:
    return name.lower().replace("+", "_").replace(" ", "_")


def _cell(text: str) -> str:
    """`text` such that it stays within its cell of a table, and is no markup."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return "".join(f"\\{char}" if char in MARKUP else char for char in shown)
