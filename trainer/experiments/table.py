"""Results of finished runs, and the row of Table 1 that they make for each strategy over all seeds."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import interval, resample_predictions
from trainer.evaluation.metrics import all_metrics, score
from trainer.evaluation.report import remark
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.tally import confusion_matrix
from trainer.runs import manifest
from trainer.runs.predictions import ValidationPredictions, read_predictions


@dataclass(frozen=True)
class Result:
    """One finished run: strategy, seed, predictions for the validation cases, training time and epochs."""

    strategy: str
    seed: int
    predicted: ValidationPredictions
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Row:
    """One strategy over all seeds. Scores are means over the seeds; intervals come from resampling the cases.

    `scores` and `intervals` are by metric, those per class by metric and class name. `kappas` has the kappa of each
    seed, `remarks` the reason why that has no interval, "" where it has one. `resamples` is the mean kappa of each
    resample, float64 (2000,), with the same cases for all rows. `ensemble` has the metrics of the mean probabilities,
    as in metrics.json. `minutes` and `epochs` are means over the seeds. An undefined score is NaN, as is
    a mean over it.
    """

    strategy: str
    scores: dict[str, Any]
    intervals: dict[str, Any]
    kappas: tuple[float, ...]
    remarks: tuple[str, ...]
    resamples: np.ndarray
    ensemble: dict[str, Any]
    minutes: float
    epochs: float

    @property
    def kappa(self) -> float:
        """The mean kappa of the seeds."""
        return float(self.scores["kappa"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their labels."""
        return tuple(self.ensemble["class_names"])


def read_result(strategy: str, seed: int, run: Path) -> Result:
    """The result of a finished run. Raises TrainerError."""
    data = manifest.read(run / "timings.csv", "timings.csv of a run")
    try:
        seconds = [float(row["seconds"]) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise TrainerError(f"{run}/timings.csv is not that of a run ({error}); restore it, or train again") from error
    return Result(strategy, seed, read_predictions(run), sum(seconds), len(seconds))


def rows_of(results: Sequence[Result]) -> list[Row]:
    """One row per strategy, in the order of `results`. Raises TrainerError unless all results have the same cases."""
    first = results[0].predicted
    for result in results[1:]:
        if not _has_same_cases(result.predicted, first):
            raise TrainerError(
                f"{result.strategy} of seed {result.seed} was evaluated on other cases, labels or classes than "
                f"{results[0].strategy} of seed {results[0].seed}; choose another DIR"
            )
    predictions = [result.predicted.probabilities.argmax(axis=1) for result in results]
    statistics = {name: metric.of_tally for name, metric in all_metrics().items() if metric.of_tally}
    # All results in one call: only then does a resample hold the same cases for every strategy.
    resamples = {
        name: resample_predictions(first.labels, predictions, len(first.class_names), each)
        for name, each in statistics.items()
    }
    rows = []
    for strategy in dict.fromkeys(result.strategy for result in results):
        numbers = [number for number, result in enumerate(results) if result.strategy == strategy]
        means = {name: values[numbers].mean(axis=0) for name, values in resamples.items()}
        rows.append(_row(strategy, [results[number] for number in numbers], means))
    return rows


def _has_same_cases(one: ValidationPredictions, other: ValidationPredictions) -> bool:
    return (one.ids, one.class_names, one.labels.tolist()) == (other.ids, other.class_names, other.labels.tolist())


def _row(strategy: str, results: Sequence[Result], resamples: Mapping[str, np.ndarray]) -> Row:
    """`resamples` is the mean over the seeds of each metric, (resamples, …)."""
    names, truth = results[0].predicted.class_names, results[0].predicted.labels
    probabilities = np.array([result.predicted.probabilities for result in results])
    matrices = np.array([confusion_matrix(truth, one, len(names)) for one in probabilities.argmax(axis=2)])
    scores: dict[str, Any] = {}
    for name, metric in all_metrics().items():
        if metric.of_tally:
            scores[name] = _by_class(metric.of_tally(matrices).mean(axis=0), names)
        elif metric.of_probabilities:
            values = [metric.of_probabilities(truth, one) for one in probabilities]
            defined = [math.nan if value is None else value for value in values]
            scores[name] = _by_class(np.mean(defined, axis=0), names)
    return Row(
        strategy,
        scores,
        intervals={name: _ends(interval(values), names) for name, values in resamples.items()},
        kappas=tuple(kappa(matrices).tolist()),
        remarks=tuple(remark(matrix, names) for matrix in matrices),
        resamples=resamples["kappa"],
        ensemble=score(truth, probabilities.mean(axis=0), names),
        minutes=float(np.mean([result.seconds for result in results])) / 60,
        epochs=float(np.mean([result.epochs for result in results])),
    )


def _by_class(value: Any, class_names: Sequence[str]) -> Any:
    """A number, or a number by class name."""
    return dict(zip(class_names, value.tolist(), strict=True)) if np.ndim(value) else float(value)


def _ends(ends: tuple[Any, Any], class_names: Sequence[str]) -> Any:
    """(low, high), or one by class name."""
    if np.ndim(ends[0]):
        return {name: (float(low), float(high)) for name, low, high in zip(class_names, *ends, strict=True)}
    return float(ends[0]), float(ends[1])


def csv_row(row: Row) -> dict[str, Any]:
    """The line of table.csv of a strategy. No two columns can have one name, whatever classes are called."""
    columns: dict[str, Any] = {"strategy": row.strategy, "seeds": len(row.kappas)}
    metrics = all_metrics()
    for name, metric in metrics.items():
        if not metric.per_class:
            columns |= {name: row.scores[name]} | _columns_of(name, row.intervals.get(name, ()))
    ensemble = [math.nan if x is None else x for x in (row.ensemble["kappa"], *row.ensemble["ci95"]["kappa"])]
    columns |= {"ensemble_kappa": ensemble[0]} | _columns_of("ensemble_kappa", ensemble[1:])
    columns |= {"epochs": row.epochs, "minutes": row.minutes}
    for name, metric in metrics.items():
        for label, value in row.scores[name].items() if metric.per_class else ():
            columns[f"{name} {label}"] = value
            low, high = row.intervals.get(name, {}).get(label, (math.nan, math.nan))
            columns |= {f"{name}_low {label}": low, f"{name}_high {label}": high}
    return columns


def _columns_of(name: str, ends: Sequence[float]) -> dict[str, float]:
    return {f"{name}_low": ends[0], f"{name}_high": ends[1]} if ends else {}
