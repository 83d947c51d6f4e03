"""The metrics are scikit-learn's; the intervals are those of drawing the cases again."""

import json
import math
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import bootstrap, interval, paired_bootstrap, resample_predictions
from trainer.evaluation.metrics import score
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.auc import auc
from trainer.evaluation.scores.balanced_accuracy import balanced_accuracy
from trainer.evaluation.scores.ece import expected_calibration_error
from trainer.evaluation.scores.f1 import f1
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.scores.loss import cross_entropy
from trainer.evaluation.tally import confusion_matrix

NAMES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")


@st.composite
def judged(draw):
    """(truth, predicted, classes): labels of a few cases, some classes absent."""
    classes = draw(st.integers(2, 6))
    cases = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=40))
    truth, predicted = np.transpose(cases)
    return truth, predicted, classes


@st.composite
def believed(draw, least=2):
    """(truth, probabilities): each row sums to 1, many values tie, none is 0."""
    classes = draw(st.integers(least, 6))
    weights = st.lists(st.integers(1, 4), min_size=classes, max_size=classes)
    cases = draw(st.lists(st.tuples(st.integers(0, classes - 1), weights), min_size=1, max_size=30))
    weights = np.array([weight for _, weight in cases], float)
    return np.array([truth for truth, _ in cases]), weights / weights.sum(1, keepdims=True)


def answers(n, classes, right, seed=0):
    """Labels of `n` cases and a prediction that is right in about `right` of them."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, n)
    return truth, np.where(generator.random(n) < right, truth, generator.integers(0, classes, n))


@given(judged())
def test_the_confusion_matrix_is_scikit_learns(case):
    truth, predicted, classes = case
    found = confusion_matrix(truth, predicted, classes)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, oracle.confusion_matrix(truth, predicted, labels=range(classes)))


@given(judged())
def test_kappa_accuracy_and_f1_are_scikit_learns(case):
    truth, predicted, classes = case
    labels = list(range(classes))
    confusion = confusion_matrix(truth, predicted, classes)
    if len({*truth, *predicted}) > 1:
        assert kappa(confusion) == pytest.approx(oracle.cohen_kappa_score(truth, predicted, labels=labels), abs=1e-12)
    else:
        assert math.isnan(kappa(confusion))
    assert accuracy(confusion) == pytest.approx(oracle.accuracy_score(truth, predicted), abs=1e-12)
    wanted = oracle.f1_score(truth, predicted, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose(f1(confusion), wanted, atol=1e-12)


@given(judged())
def test_balanced_accuracy_is_scikit_learns(case):
    truth, predicted, classes = case
    found = balanced_accuracy(confusion_matrix(truth, predicted, classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are predicted only
        assert found == pytest.approx(oracle.balanced_accuracy_score(truth, predicted), abs=1e-12)


@given(believed())
def test_the_calibration_error_is_the_weighted_gap_of_fifteen_bins(case):
    truth, probabilities = case
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    gaps = []
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15 + 1e-15)
        gaps += [inside.sum() * abs(correct[inside].mean() - confidence[inside].mean())] if inside.any() else []
    assert expected_calibration_error(truth, probabilities) == pytest.approx(sum(gaps) / len(truth), abs=1e-9)


def test_the_calibration_error_of_a_network_that_is_sure_and_wrong_is_1():
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)[[1, 0]]) == 1
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0


def test_kappa_is_undefined_where_chance_always_agrees_and_without_cases():
    one_class = confusion_matrix([1, 1], [1, 1], 3)
    assert math.isnan(kappa(one_class))
    assert (accuracy(one_class), f1(one_class).tolist()) == (1, [0, 1, 0])
    empty = np.zeros((2, 2), int)
    assert math.isnan(kappa(empty))
    assert (accuracy(empty), f1(empty).tolist()) == (0, [0, 0])


def test_an_undefined_kappa_is_null_in_json_and_so_is_its_interval():
    found = json.loads(json.dumps(score([1, 1], [[0.2, 0.8], [0.4, 0.6]], "ab"), allow_nan=False))
    assert (found["kappa"], found["ci95"]["kappa"]) == (None, [None, None])
    assert (found["accuracy"], found["ci95"]["accuracy"]) == (1, [1, 1])


def test_a_constant_prediction_has_kappa_0_not_an_undefined_one():
    found = score([0, 1, 1], [[0.2, 0.8]] * 3, "ab")
    assert (found["kappa"], found["ci95"]["kappa"]) == (0, [0, 0])


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


@given(st.integers(0, 99))
def test_a_stack_of_matrices_gives_a_stack_of_scores(seed):
    stack = np.random.default_rng(seed).integers(0, 4, (2, 3, 4, 4))
    for statistic in (kappa, accuracy, f1):
        wanted = [[statistic(matrix) for matrix in row] for row in stack]
        np.testing.assert_array_equal(statistic(stack), wanted)


def test_one_matrix_gives_plain_numbers():
    confusion = confusion_matrix([0, 1, 1], [0, 1, 0], 2)
    assert isinstance(kappa(confusion), float)
    assert isinstance(accuracy(confusion), float)
    assert f1(confusion).dtype == np.float64


@given(believed())
def test_auc_is_scikit_learns_mean_over_the_classes_with_both_outcomes(case):
    truth, probabilities = case
    classes = probabilities.shape[1]
    tested = [1] if classes == 2 else range(classes)
    areas = [
        oracle.roc_auc_score(truth == label, probabilities[:, label])
        for label in tested
        if 0 < (truth == label).sum() < len(truth)
    ]
    assert auc(truth, probabilities) == (pytest.approx(np.mean(areas), abs=1e-12) if areas else None)


def test_auc_of_all_classes_is_scikit_learns_macro_one_against_rest():
    truth = np.arange(60) % 5
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 60)
    wanted = oracle.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    assert auc(truth, probabilities) == pytest.approx(wanted, abs=1e-12)


def test_auc_of_two_classes_is_that_of_class_1():
    assert auc([0, 1], [[0.3, 0.1], [0.3, 0.2]]) == 1


@given(believed())
def test_cross_entropy_is_scikit_learns(case):
    truth, probabilities = case
    wanted = oracle.log_loss(truth, probabilities, labels=range(probabilities.shape[1]))
    assert cross_entropy(truth, probabilities) == pytest.approx(wanted, abs=1e-12)


def test_a_probability_of_0_for_the_true_class_costs_16_nats():
    assert cross_entropy([0, 1], [[0, 1], [0, 1]]) == pytest.approx(-np.log(1e-7) / 2)


def test_intervals_are_those_of_earlier_versions_for_the_same_seed():
    truth, predicted = answers(60, 5, 0.6, seed=7)
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
    truth, predicted = answers(80, 4, 0.5)
    wanted = resample_predictions(truth, [predicted, truth], 4, f1, resamples=100)
    monkeypatch.setattr("trainer.evaluation.bootstrap.BLOCK_VALUES", values)
    np.testing.assert_array_equal(resample_predictions(truth, [predicted, truth], 4, f1, resamples=100), wanted)


def test_thousands_of_classes_take_little_memory():
    """A matrix for each resample would take 2,000 × 2,010² numbers: 60 GB."""
    classes = 2010
    truth, predicted = answers(3000, classes, 0.6)
    probabilities = np.full((3000, classes), 1e-4, np.float32)
    probabilities[np.arange(3000), predicted] = 1
    tracemalloc.start()
    try:
        found = score(truth, probabilities, [f"class {number}" for number in range(classes)])
        paired_bootstrap(truth, predicted, np.roll(predicted, 1), classes, resamples=200)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 500e6
    low, high = found["ci95"]["kappa"]
    assert low < found["kappa"] < high


@pytest.mark.parametrize("statistic", [kappa, accuracy, f1])
def test_the_interval_equals_that_of_a_naive_bootstrap(statistic):
    truth, predicted = answers(150, 3, 0.6)
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
    confusion = confusion_matrix(*answers(100, 3, 0.6), 3)
    assert bootstrap(confusion, kappa, seed=1) == bootstrap(confusion, kappa, seed=1) != bootstrap(confusion, kappa)


def test_the_paired_interval_equals_that_of_a_naive_bootstrap():
    truth, first = answers(120, 3, 0.5)
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
    truth, first = answers(60, 2, 0.4)
    _, second = answers(60, 2, 0.6, seed=0)
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, 60, 60) for _ in range(4000)]
    looped = np.array(
        [np.mean(second[picks] == truth[picks]) - np.mean(first[picks] == truth[picks]) for picks in drawn]
    )
    *_, p = paired_bootstrap(truth, first, second, 2, accuracy, resamples=4000)
    assert p == pytest.approx(2 * min(np.mean(looped <= 0), np.mean(looped >= 0)), abs=0.03)


def test_equal_predictions_differ_by_nothing_with_p_1():
    truth, predicted = answers(50, 3, 0.5)
    assert paired_bootstrap(truth, predicted, predicted, 3) == (0, 0, 0, 1)


def test_swapping_the_predictions_negates_the_difference():
    truth, first = answers(80, 3, 0.5, seed=3)
    second = np.roll(first, 1)
    difference, low, high, p = paired_bootstrap(truth, first, second, 3)
    back, back_low, back_high, back_p = paired_bootstrap(truth, second, first, 3)
    assert back == -difference
    np.testing.assert_allclose([back_low, back_high, back_p], [-high, -low, p], atol=0.03)


def test_labels_of_8_bits_do_not_overflow_with_many_classes():
    truth, first = answers(300, 50, 0.5)
    second = np.where(np.arange(300) % 3 == 0, truth, first)
    small = [np.uint8(labels) for labels in (truth, first, second)]
    assert paired_bootstrap(*small, 50, resamples=50) == paired_bootstrap(truth, first, second, 50, resamples=50)


def test_the_score_has_every_metric_by_name():
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    found = score(truth, probabilities, ("left", "right"))
    ci95 = found.pop("ci95")
    assert found == {
        "kappa": 0.5,
        "accuracy": 0.75,
        "balanced_accuracy": 0.75,
        "ece": pytest.approx(0.3),
        "f1": {"left": pytest.approx(2 / 3), "right": pytest.approx(0.8)},
        "auc": 1.0,
        "loss": pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean()),
        "confusion": [[1, 1], [0, 2]],
        "class_names": ["left", "right"],
        "n": 4,
    }
    assert ci95["kappa"] == list(bootstrap(found["confusion"], kappa))
    assert ci95["accuracy"] == list(bootstrap(found["confusion"], accuracy))
    assert list(ci95["f1"]) == ["left", "right"]


@settings(max_examples=25)
@given(believed(), st.integers(0, 3))
def test_a_score_is_finite_json_with_intervals_in_range(case, seed):
    truth, probabilities = case
    names = NAMES[: probabilities.shape[1]] + ("sixth",) * (probabilities.shape[1] > 5)
    found = score(truth, np.float32(probabilities), names, seed)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["n"] == len(truth) == np.sum(found["confusion"])
    assert list(found["f1"]) == list(found["ci95"]["f1"]) == found["class_names"] == list(names)
    assert (found["kappa"] is None) == (found["ci95"]["kappa"] == [None, None])
    for low, high in (found["ci95"]["kappa"], found["ci95"]["accuracy"], *found["ci95"]["f1"].values()):
        assert low is None or -1 <= low <= high <= 1


def test_of_equal_probabilities_the_first_class_is_predicted():
    assert score([1], [[0.2, 0.4, 0.4]], "abc")["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_an_undefined_auc_is_null_in_json():
    assert score([1, 1], [[0.2, 0.8], [0.4, 0.6]], "ab")["auc"] is None


HALF = [0.5, 0.5]


@pytest.mark.parametrize(
    ("truth", "probabilities", "names", "message"),
    [
        ([], np.empty((0, 2)), "ab", "there are no cases to score; expected at least one with a label"),
        (
            [0, 1, 0],
            [HALF, [np.nan, 0.5], [np.inf, 0]],
            "ab",
            "the prediction of 2 of 3 cases is not finite (the first is number 1 from 0); expected probabilities; "
            "the weights have diverged: train again with a lower learning rate",
        ),
        (
            [0, 2],
            [HALF, HALF],
            "ab",
            "truth holds label 2 (case 1 from 0); expected 0 to 1; leave out cases without a label",
        ),
        (
            [0, -1],
            [HALF, HALF],
            "ab",
            "truth holds label -1 (case 1 from 0); expected 0 to 1; leave out cases without a label",
        ),
        ([0.0], [HALF], "ab", "truth is float64 of shape (1,); expected whole numbers, one for each case"),
        ([0, 1], [HALF], "ab", "2 true labels and predictions of shape (1, 2); expected (cases, classes)"),
        ([0], HALF[:1], "ab", "1 true labels and predictions of shape (1,); expected (cases, classes)"),
        ([0], [HALF], "abc", "class names a, b, c for 2 probabilities; expected one name each"),
        ([0], [HALF], "aa", "class names a, a for 2 probabilities; expected one name each"),
    ],
)
def test_invalid_input_to_a_score_is_refused(truth, probabilities, names, message):
    with pytest.raises(TrainerError) as refused:
        score(truth, probabilities, names)
    assert str(refused.value) == message


def test_predictions_and_labels_must_have_equal_length():
    with pytest.raises(TrainerError) as refused:
        confusion_matrix([0, 1], [0], 2)
    assert str(refused.value) == "2 true labels and 1 predictions; expected one for each case"


def test_an_empty_matrix_has_no_interval():
    with pytest.raises(TrainerError) as refused:
        bootstrap(np.zeros((2, 2), int), kappa)
    assert str(refused.value) == "there are no cases to draw from; expected at least one with a label"


def test_the_interval_excludes_a_fortieth_of_the_resamples_at_each_end():
    assert interval(np.arange(1001.0)) == (25, 975)
