"""Bootstrap intervals are those of drawing the cases again."""

import numpy as np
import pytest

from tests.helpers.predictions import random_predictions
from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import bootstrap, interval, paired_bootstrap, resample_predictions
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.f1 import f1
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.tally import confusion_matrix


def test_resamples_with_undefined_kappa_are_left_out_of_its_interval():
    truth, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])  # a third of the resamples hold class 0 alone
    drawn = resample_predictions(truth, [predicted], 2)[0]
    assert 0.2 < np.isnan(drawn).mean() < 0.4
    assert bootstrap(confusion_matrix(truth, predicted, 2), kappa) == (0, 0)


def test_the_paired_bootstrap_leaves_out_undefined_resamples():
    truth, wrong = np.array([0, 0, 1]), np.array([0, 1, 1])
    found = paired_bootstrap(truth, np.zeros(3, int), wrong, 2)
    assert np.isfinite(found).all()
    ones = np.ones(3, int)
    assert np.isnan(paired_bootstrap(ones, ones, ones, 2)).all()


def test_intervals_are_those_of_earlier_versions_for_the_same_seed():
    truth, predicted = random_predictions(60, 5, 0.6, seed=7)
    generator = np.random.default_rng(2)
    confusion = confusion_matrix(truth, predicted, 5)
    filled = np.flatnonzero(confusion)
    stack = np.zeros((2000, 25), int)
    stack[:, filled] = generator.multinomial(60, confusion.ravel()[filled] / 60, size=2000)
    for statistic in (kappa, accuracy, f1):
        wanted = np.percentile(statistic(stack.reshape(-1, 5, 5)), (2.5, 97.5), axis=0)
        np.testing.assert_array_equal(bootstrap(confusion, statistic, seed=2), wanted)
    assert bootstrap(confusion, kappa, seed=2) == (0.47348559874912655, 0.7653896044958437)


@pytest.mark.parametrize("values", [1, 70, 2**21])
def test_the_size_of_a_block_changes_no_resample(monkeypatch, values):
    truth, predicted = random_predictions(80, 4, 0.5)
    wanted = resample_predictions(truth, [predicted, truth], 4, f1, resamples=100)
    monkeypatch.setattr("trainer.evaluation.bootstrap.BLOCK_VALUES", values)
    np.testing.assert_array_equal(resample_predictions(truth, [predicted, truth], 4, f1, resamples=100), wanted)


@pytest.mark.parametrize("statistic", [kappa, accuracy, f1])
def test_the_interval_equals_that_of_a_naive_bootstrap(statistic):
    truth, predicted = random_predictions(150, 3, 0.6)
    generator = np.random.default_rng(1)
    drawn = (generator.integers(0, 150, 150) for _ in range(4000))
    looped = [statistic(confusion_matrix(truth[picks], predicted[picks], 3)) for picks in drawn]
    found = bootstrap(confusion_matrix(truth, predicted, 3), statistic, resamples=4000)
    np.testing.assert_allclose(found, np.percentile(looped, [2.5, 97.5], axis=0), atol=0.012)


def test_the_interval_contains_the_true_accuracy_in_about_95_of_100_samples():
    generator = np.random.default_rng(0)
    samples = [generator.multinomial(200, [0.4, 0.1, 0.2, 0.3]).reshape(2, 2) for _ in range(400)]
    intervals = [bootstrap(sample, accuracy, resamples=400, seed=number) for number, sample in enumerate(samples)]
    held = np.mean([low <= 0.7 <= high for low, high in intervals])
    assert 0.92 <= held <= 0.98


def test_the_interval_depends_on_the_seed_only():
    confusion = confusion_matrix(*random_predictions(100, 3, 0.6), 3)
    assert bootstrap(confusion, kappa, seed=1) == bootstrap(confusion, kappa, seed=1) != bootstrap(confusion, kappa)


def test_the_paired_interval_equals_that_of_a_naive_bootstrap():
    truth, first = random_predictions(120, 3, 0.5)
    second = np.where(np.arange(120) % 2 == 0, truth, first)
    generator = np.random.default_rng(1)

    def difference(picks):
        one, other = (kappa(confusion_matrix(truth[picks], labels[picks], 3)) for labels in (first, second))
        return other - one

    looped = [difference(generator.integers(0, 120, 120)) for _ in range(4000)]
    found, low, high, p = paired_bootstrap(truth, first, second, 3, resamples=4000)
    assert found == difference(slice(None)) > 0
    np.testing.assert_allclose([low, high], np.percentile(looped, [2.5, 97.5]), atol=0.012)
    assert p == 2 / 4001  # never 0, though no sample had the first ahead


def test_the_paired_p_equals_that_of_a_naive_bootstrap():
    truth, first = random_predictions(60, 2, 0.4)
    _, second = random_predictions(60, 2, 0.6, seed=0)
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, 60, 60) for _ in range(4000)]
    looped = np.array(
        [np.mean(second[picks] == truth[picks]) - np.mean(first[picks] == truth[picks]) for picks in drawn]
    )
    *_, p = paired_bootstrap(truth, first, second, 2, accuracy, resamples=4000)
    assert p == pytest.approx(2 * min(np.mean(looped <= 0), np.mean(looped >= 0)), abs=0.03)


def test_equal_predictions_differ_by_nothing_with_p_1():
    truth, predicted = random_predictions(50, 3, 0.5)
    assert paired_bootstrap(truth, predicted, predicted, 3) == (0, 0, 0, 1)


def test_swapping_the_predictions_negates_the_difference():
    truth, first = random_predictions(80, 3, 0.5, seed=3)
    second = np.roll(first, 1)
    difference, low, high, p = paired_bootstrap(truth, first, second, 3)
    back, back_low, back_high, back_p = paired_bootstrap(truth, second, first, 3)
    assert back == -difference
    np.testing.assert_allclose([back_low, back_high, back_p], [-high, -low, p], atol=0.03)


def test_labels_of_8_bits_do_not_overflow_with_many_classes():
    truth, first = random_predictions(300, 50, 0.5)
    second = np.where(np.arange(300) % 3 == 0, truth, first)
    small = [np.uint8(labels) for labels in (truth, first, second)]
    assert paired_bootstrap(*small, 50, resamples=50) == paired_bootstrap(truth, first, second, 50, resamples=50)


def test_an_empty_matrix_has_no_interval():
    with pytest.raises(TrainerError) as refused:
        bootstrap(np.zeros((2, 2), int), kappa)
    assert str(refused.value) == "there are no cases to draw from; expected at least one with a label"


def test_the_interval_excludes_a_fortieth_of_the_resamples_at_each_end():
    assert interval(np.arange(1001.0)) == (25, 975)
