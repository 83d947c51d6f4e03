"""Bootstrap intervals equal those of resampling the cases."""

import numpy as np
import pytest

from tests.helpers.predictions import random_predictions
from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import bootstrap, interval, paired_bootstrap, resample_predictions
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.f1 import f1
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.tally import confusion_matrix


def test_the_interval_of_kappa_excludes_resamples_with_undefined_kappa():
    truth, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])  # a third of the resamples have only class 0
    resampled = resample_predictions(truth, [predicted], 2)[0]
    assert 0.2 < np.isnan(resampled).mean() < 0.4
    assert bootstrap(confusion_matrix(truth, predicted, 2), kappa) == (0, 0)


def test_the_paired_bootstrap_excludes_undefined_resamples():
    truth, wrong = np.array([0, 0, 1]), np.array([0, 1, 1])
    result = paired_bootstrap(truth, np.zeros(3, int), wrong, 2)
    assert np.isfinite(result).all()
    ones = np.ones(3, int)
    assert np.isnan(paired_bootstrap(ones, ones, ones, 2)).all()


def test_intervals_equal_those_of_earlier_versions_for_the_same_seed():
    truth, predicted = random_predictions(60, 5, 0.6, seed=7)
    generator = np.random.default_rng(2)
    confusion = confusion_matrix(truth, predicted, 5)
    nonzero = np.flatnonzero(confusion)
    resamples = np.zeros((2000, 25), int)
    resamples[:, nonzero] = generator.multinomial(60, confusion.ravel()[nonzero] / 60, size=2000)
    for statistic in (kappa, accuracy, f1):
        expected = np.percentile(statistic(resamples.reshape(-1, 5, 5)), (2.5, 97.5), axis=0)
        np.testing.assert_array_equal(bootstrap(confusion, statistic, seed=2), expected)
    assert bootstrap(confusion, kappa, seed=2) == (0.47348559874912655, 0.7653896044958437)


@pytest.mark.parametrize("values", [1, 70, 2**21])
def test_the_block_size_does_not_affect_resamples(monkeypatch, values):
    truth, predicted = random_predictions(80, 4, 0.5)
    expected = resample_predictions(truth, [predicted, truth], 4, f1, resamples=100)
    monkeypatch.setattr("trainer.evaluation.bootstrap.BLOCK_VALUES", values)
    np.testing.assert_array_equal(resample_predictions(truth, [predicted, truth], 4, f1, resamples=100), expected)


@pytest.mark.parametrize("statistic", [kappa, accuracy, f1])
def test_the_interval_equals_that_of_a_naive_bootstrap(statistic):
    truth, predicted = random_predictions(150, 3, 0.6)
    generator = np.random.default_rng(1)
    resampled = (generator.integers(0, 150, 150) for _ in range(4000))
    naive = [statistic(confusion_matrix(truth[indices], predicted[indices], 3)) for indices in resampled]
    result = bootstrap(confusion_matrix(truth, predicted, 3), statistic, resamples=4000)
    np.testing.assert_allclose(result, np.percentile(naive, [2.5, 97.5], axis=0), atol=0.012)


def test_the_interval_contains_the_true_accuracy_in_about_95_of_100_samples():
    generator = np.random.default_rng(0)
    samples = [generator.multinomial(200, [0.4, 0.1, 0.2, 0.3]).reshape(2, 2) for _ in range(400)]
    intervals = [bootstrap(sample, accuracy, resamples=400, seed=number) for number, sample in enumerate(samples)]
    coverage = np.mean([low <= 0.7 <= high for low, high in intervals])
    assert 0.92 <= coverage <= 0.98


def test_the_interval_depends_only_on_the_seed():
    confusion = confusion_matrix(*random_predictions(100, 3, 0.6), 3)
    assert bootstrap(confusion, kappa, seed=1) == bootstrap(confusion, kappa, seed=1) != bootstrap(confusion, kappa)


def test_the_paired_interval_equals_that_of_a_naive_bootstrap():
    truth, first = random_predictions(120, 3, 0.5)
    second = np.where(np.arange(120) % 2 == 0, truth, first)
    generator = np.random.default_rng(1)

    def difference(indices):
        before, after = (kappa(confusion_matrix(truth[indices], labels[indices], 3)) for labels in (first, second))
        return after - before

    naive = [difference(generator.integers(0, 120, 120)) for _ in range(4000)]
    result, low, high, p = paired_bootstrap(truth, first, second, 3, resamples=4000)
    assert result == difference(slice(None)) > 0
    np.testing.assert_allclose([low, high], np.percentile(naive, [2.5, 97.5]), atol=0.012)
    assert p == 2 / 4001  # never 0, although no resample favours the first


def test_the_paired_p_equals_that_of_a_naive_bootstrap():
    truth, first = random_predictions(60, 2, 0.4)
    _, second = random_predictions(60, 2, 0.6, seed=0)
    generator = np.random.default_rng(1)
    resampled = [generator.integers(0, 60, 60) for _ in range(4000)]
    naive = np.array(
        [
            np.mean(second[indices] == truth[indices]) - np.mean(first[indices] == truth[indices])
            for indices in resampled
        ]
    )
    *_, p = paired_bootstrap(truth, first, second, 2, accuracy, resamples=4000)
    assert p == pytest.approx(2 * min(np.mean(naive <= 0), np.mean(naive >= 0)), abs=0.03)


def test_equal_predictions_have_difference_0_and_p_1():
    truth, predicted = random_predictions(50, 3, 0.5)
    assert paired_bootstrap(truth, predicted, predicted, 3) == (0, 0, 0, 1)


def test_swapping_the_predictions_negates_the_difference():
    truth, first = random_predictions(80, 3, 0.5, seed=3)
    second = np.roll(first, 1)
    difference, low, high, p = paired_bootstrap(truth, first, second, 3)
    swapped, swapped_low, swapped_high, swapped_p = paired_bootstrap(truth, second, first, 3)
    assert swapped == -difference
    np.testing.assert_allclose([swapped_low, swapped_high, swapped_p], [-high, -low, p], atol=0.03)


def test_8_bit_labels_do_not_overflow_with_many_classes():
    truth, first = random_predictions(300, 50, 0.5)
    second = np.where(np.arange(300) % 3 == 0, truth, first)
    small = [np.uint8(labels) for labels in (truth, first, second)]
    assert paired_bootstrap(*small, 50, resamples=50) == paired_bootstrap(truth, first, second, 50, resamples=50)


def test_an_interval_of_an_empty_matrix_is_an_error():
    with pytest.raises(TrainerError) as error:
        bootstrap(np.zeros((2, 2), int), kappa)
    assert str(error.value) == "there are no cases to draw from; expected at least one with a label"


def test_the_interval_excludes_2_5_percent_of_the_resamples_at_each_end():
    assert interval(np.arange(1001.0)) == (25, 975)
