"""The rows of Table 1: scores as in scikit-learn, and resamples with the same cases for all strategies."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from tests.helpers.experiment_results import STRATEGIES, results
from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import paired_bootstrap
from trainer.experiments.report import PAPER_TYPES
from trainer.experiments.table import Result, read_result, rows_of
from trainer.runs.predictions import ValidationPredictions, write_predictions


def predictions_of(all_results, strategy):
    return [result.predicted for result in all_results if result.strategy == strategy]


def test_the_scores_of_a_row_equal_the_mean_of_scikit_learn_over_seeds():
    all_results = results()
    for row in rows_of(all_results):
        truth = all_results[0].predicted.labels
        predicted = [predictions.probabilities.argmax(1) for predictions in predictions_of(all_results, row.strategy)]
        assert row.kappas == pytest.approx([cohen_kappa_score(truth, labels) for labels in predicted])
        assert row.kappa == pytest.approx(np.mean(row.kappas))
        assert row.scores["accuracy"] == pytest.approx(np.mean([accuracy_score(truth, labels) for labels in predicted]))
        assert list(row.scores["f1"]) == list(PAPER_TYPES)
        expected = np.mean([f1_score(truth, labels, average=None) for labels in predicted], axis=0)
        assert list(row.scores["f1"].values()) == pytest.approx(expected)
        assert (row.epochs, row.minutes) == (4.5, 1.5)


def test_the_ensemble_is_scored_on_mean_probabilities():
    all_results = results(seeds=3)
    for row in rows_of(all_results):
        mean = np.mean([predictions.probabilities for predictions in predictions_of(all_results, row.strategy)], axis=0)
        truth = all_results[0].predicted.labels
        assert row.ensemble["kappa"] == pytest.approx(cohen_kappa_score(truth, mean.argmax(1)))
        assert np.sum(row.ensemble["confusion"]) == row.ensemble["n"] == 60


def test_with_one_seed_differences_equal_those_of_the_paired_bootstrap():
    """The table resamples all strategies together, so the random resamples differ and intervals agree only roughly."""
    all_results = results(seeds=1, n=200)
    before, after = rows_of(all_results)[:2]
    truth = all_results[0].predicted.labels
    predicted = [predictions_of(all_results, strategy)[0].probabilities.argmax(1) for strategy in STRATEGIES[:2]]
    difference, low, high, _ = paired_bootstrap(truth, *predicted, len(PAPER_TYPES))
    assert after.kappa - before.kappa == pytest.approx(difference)
    differences = after.resamples - before.resamples
    assert np.percentile(differences, (2.5, 97.5)) == pytest.approx([low, high], abs=0.02)


def test_resamples_have_the_same_cases_for_all_strategies():
    """Equal strategies have equal resamples; another prediction for one case changes less than resampling."""
    all_results = results(seeds=1, strategies=("No PT",))
    duplicate = [Result("PT", 0, all_results[0].predicted, 1.0, 1)]
    probabilities = all_results[0].predicted.probabilities.copy()
    probabilities[0] = np.roll(probabilities[0], 1)
    similar = [
        Result("PT+CW", 0, ValidationPredictions(*_with_probabilities(all_results[0].predicted, probabilities)), 1.0, 1)
    ]
    first, equal, third = rows_of([*all_results, *duplicate, *similar])
    np.testing.assert_array_equal(first.resamples, equal.resamples)
    assert 0 < np.std(third.resamples - first.resamples) < np.std(first.resamples) / 3


def _with_probabilities(predicted, probabilities):
    return predicted.ids, predicted.labels, probabilities, predicted.class_names


def test_intervals_contain_the_score_and_are_narrower_for_more_seeds():
    one_seed, five_seeds = (rows_of(results(seeds=seeds, strategies=("PT",)))[0] for seeds in (1, 5))
    for row in (one_seed, five_seeds):
        for name in ("kappa", "accuracy", "balanced_accuracy"):
            assert row.intervals[name][0] < row.scores[name] < row.intervals[name][1]
        for name, value in row.scores["f1"].items():
            assert row.intervals["f1"][name][0] <= value <= row.intervals["f1"][name][1]
    assert np.ptp(five_seeds.intervals["kappa"]) < np.ptp(one_seed.intervals["kappa"])


@pytest.mark.parametrize("field", ["ids", "labels", "class_names"])
def test_runs_on_other_cases_are_not_compared(field):
    all_results = results(seeds=2)
    original = all_results[-1].predicted
    changed = {
        "ids": (original.ids[::-1], original.labels, original.probabilities, original.class_names),
        "labels": (original.ids, np.roll(original.labels, 1), original.probabilities, original.class_names),
        "class_names": (original.ids, original.labels, original.probabilities, original.class_names[::-1]),
    }[field]
    all_results[-1] = Result("PT+CW+AUG", 1, ValidationPredictions(*changed), 1.0, 1)
    with pytest.raises(TrainerError) as error:
        rows_of(all_results)
    assert str(error.value) == (
        "PT+CW+AUG of seed 1 was evaluated on other cases, labels or classes than No PT of seed 0; choose another DIR"
    )


def test_a_result_is_read_from_its_run(tmp_path):
    predicted = results()[0].predicted
    write_predictions(tmp_path, predicted)
    (tmp_path / "timings.csv").write_text("epoch,seconds,data_wait\n1,2.5,0.0\n2,1.5,0.1\n")
    result = read_result("PT", 3, tmp_path)
    assert (result.strategy, result.seed, result.seconds, result.epochs) == ("PT", 3, 4.0, 2)
    np.testing.assert_array_equal(result.predicted.probabilities, predicted.probabilities)
    assert result.predicted.ids == predicted.ids


@pytest.mark.parametrize("text", ["epoch\n1\n", "epoch,seconds\n1,soon\n"])
def test_a_run_without_timings_is_rejected(tmp_path, text):
    write_predictions(tmp_path, results()[0].predicted)
    with pytest.raises(TrainerError, match=r"timings\.csv: No such file or directory; expected timings\.csv of a run"):
        read_result("PT", 0, tmp_path)
    (tmp_path / "timings.csv").write_text(text)
    with pytest.raises(TrainerError, match=r"timings\.csv is not that of a run .*; restore it, or train again"):
        read_result("PT", 0, tmp_path)
