"""The rows of Table 1: scikit-learn's scores, and resamples with the same cases for all strategies."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from tests.helpers.experiment_results import STRATEGIES, results
from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import paired_bootstrap
from trainer.experiments.report import PAPER_TYPES
from trainer.experiments.table import Result, read_result, rows_of
from trainer.runs.predictions import ValidationPredictions, write_predictions


def of(found, strategy):
    return [result.predicted for result in found if result.strategy == strategy]


def test_the_scores_of_a_row_are_scikit_learns_mean_over_the_seeds():
    found = results()
    for row in rows_of(found):
        truth = found[0].predicted.labels
        guesses = [one.probabilities.argmax(1) for one in of(found, row.strategy)]
        assert row.kappas == pytest.approx([cohen_kappa_score(truth, guess) for guess in guesses])
        assert row.kappa == pytest.approx(np.mean(row.kappas))
        assert row.scores["accuracy"] == pytest.approx(np.mean([accuracy_score(truth, guess) for guess in guesses]))
        assert list(row.scores["f1"]) == list(PAPER_TYPES)
        expected = np.mean([f1_score(truth, guess, average=None) for guess in guesses], axis=0)
        assert list(row.scores["f1"].values()) == pytest.approx(expected)
        assert (row.epochs, row.minutes) == (4.5, 1.5)


def test_the_ensemble_is_scored_by_its_mean_probabilities():
    found = results(seeds=3)
    for row in rows_of(found):
        mean = np.mean([one.probabilities for one in of(found, row.strategy)], axis=0)
        truth = found[0].predicted.labels
        assert row.ensemble["kappa"] == pytest.approx(cohen_kappa_score(truth, mean.argmax(1)))
        assert np.sum(row.ensemble["confusion"]) == row.ensemble["n"] == 60


def test_with_one_seed_differences_are_those_of_the_paired_bootstrap():
    """Twenty predictions for the same cases are drawn otherwise than two, so intervals agree but for chance."""
    found = results(seeds=1, n=200)
    before, after = rows_of(found)[:2]
    truth = found[0].predicted.labels
    guesses = [of(found, strategy)[0].probabilities.argmax(1) for strategy in STRATEGIES[:2]]
    difference, low, high, _ = paired_bootstrap(truth, *guesses, len(PAPER_TYPES))
    assert after.kappa - before.kappa == pytest.approx(difference)
    differences = after.resamples - before.resamples
    assert np.percentile(differences, (2.5, 97.5)) == pytest.approx([low, high], abs=0.02)


def test_resamples_hold_the_same_cases_for_all_strategies():
    """Strategies that agree never differ; one wrong case more makes less of a difference than redrawing does."""
    found = results(seeds=1, strategies=("No PT",))
    same = [Result("PT", 0, found[0].predicted, 1.0, 1)]
    probabilities = found[0].predicted.probabilities.copy()
    probabilities[0] = np.roll(probabilities[0], 1)
    near = [Result("PT+CW", 0, ValidationPredictions(*_but(found[0].predicted, probabilities)), 1.0, 1)]
    plain, equal, other = rows_of([*found, *same, *near])
    np.testing.assert_array_equal(plain.resamples, equal.resamples)
    assert 0 < np.std(other.resamples - plain.resamples) < np.std(plain.resamples) / 3


def _but(predicted, probabilities):
    return predicted.ids, predicted.labels, probabilities, predicted.class_names


def test_intervals_contain_the_score_and_are_narrower_for_more_seeds():
    one, five = (rows_of(results(seeds=seeds, strategies=("PT",)))[0] for seeds in (1, 5))
    for row in (one, five):
        for name in ("kappa", "accuracy", "balanced_accuracy"):
            assert row.intervals[name][0] < row.scores[name] < row.intervals[name][1]
        for name, value in row.scores["f1"].items():
            assert row.intervals["f1"][name][0] <= value <= row.intervals["f1"][name][1]
    assert np.ptp(five.intervals["kappa"]) < np.ptp(one.intervals["kappa"])


@pytest.mark.parametrize("spoil", ["ids", "labels", "class_names"])
def test_runs_on_other_cases_are_not_compared(spoil):
    found = results(seeds=2)
    sound = found[-1].predicted
    changed = {
        "ids": (sound.ids[::-1], sound.labels, sound.probabilities, sound.class_names),
        "labels": (sound.ids, np.roll(sound.labels, 1), sound.probabilities, sound.class_names),
        "class_names": (sound.ids, sound.labels, sound.probabilities, sound.class_names[::-1]),
    }[spoil]
    found[-1] = Result("PT+CW+AUG", 1, ValidationPredictions(*changed), 1.0, 1)
    with pytest.raises(TrainerError) as caught:
        rows_of(found)
    assert str(caught.value) == (
        "PT+CW+AUG of seed 1 was evaluated on other cases, labels or classes than No PT of seed 0; choose another DIR"
    )


def test_a_result_is_read_from_its_run(tmp_path):
    predicted = results()[0].predicted
    write_predictions(tmp_path, predicted)
    (tmp_path / "timings.csv").write_text("epoch,seconds,data_wait\n1,2.5,0.0\n2,1.5,0.1\n")
    found = read_result("PT", 3, tmp_path)
    assert (found.strategy, found.seed, found.seconds, found.epochs) == ("PT", 3, 4.0, 2)
    np.testing.assert_array_equal(found.predicted.probabilities, predicted.probabilities)
    assert found.predicted.ids == predicted.ids


@pytest.mark.parametrize("text", ["epoch\n1\n", "epoch,seconds\n1,soon\n"])
def test_a_run_without_timings_is_refused(tmp_path, text):
    write_predictions(tmp_path, results()[0].predicted)
    with pytest.raises(TrainerError, match=r"timings\.csv: No such file or directory; expected timings\.csv of a run"):
        read_result("PT", 0, tmp_path)
    (tmp_path / "timings.csv").write_text(text)
    with pytest.raises(TrainerError, match=r"timings\.csv is not that of a run .*; restore it, or train again"):
        read_result("PT", 0, tmp_path)
