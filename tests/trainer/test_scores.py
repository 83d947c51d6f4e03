"""Every metric equals that of scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from tests.helpers.predictions import labels_and_probabilities
from trainer.errors import TrainerError
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.auc import auc
from trainer.evaluation.scores.balanced_accuracy import balanced_accuracy
from trainer.evaluation.scores.ece import expected_calibration_error
from trainer.evaluation.scores.f1 import f1
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.scores.loss import cross_entropy
from trainer.evaluation.tally import confusion_matrix


@st.composite
def labels_and_predictions(draw):
    """(truth, predicted, classes): labels of a few cases; some classes may be missing."""
    classes = draw(st.integers(2, 6))
    cases = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=40))
    truth, predicted = np.transpose(cases)
    return truth, predicted, classes


@given(labels_and_predictions())
def test_the_confusion_matrix_equals_that_of_scikit_learn(case):
    truth, predicted, classes = case
    actual = confusion_matrix(truth, predicted, classes)
    assert actual.dtype == np.int64
    np.testing.assert_array_equal(actual, oracle.confusion_matrix(truth, predicted, labels=range(classes)))


@given(labels_and_predictions())
def test_kappa_accuracy_and_f1_equal_those_of_scikit_learn(case):
    truth, predicted, classes = case
    labels = list(range(classes))
    confusion = confusion_matrix(truth, predicted, classes)
    if len({*truth, *predicted}) > 1:
        assert kappa(confusion) == pytest.approx(oracle.cohen_kappa_score(truth, predicted, labels=labels), abs=1e-12)
    else:
        assert math.isnan(kappa(confusion))
    assert accuracy(confusion) == pytest.approx(oracle.accuracy_score(truth, predicted), abs=1e-12)
    expected = oracle.f1_score(truth, predicted, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose(f1(confusion), expected, atol=1e-12)


@given(labels_and_predictions())
def test_balanced_accuracy_equals_that_of_scikit_learn(case):
    truth, predicted, classes = case
    actual = balanced_accuracy(confusion_matrix(truth, predicted, classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes that are only predicted
        assert actual == pytest.approx(oracle.balanced_accuracy_score(truth, predicted), abs=1e-12)


@given(labels_and_probabilities())
def test_the_calibration_error_is_the_weighted_gap_of_fifteen_bins(case):
    truth, probabilities = case
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    gaps = []
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15 + 1e-15)
        gaps += [inside.sum() * abs(correct[inside].mean() - confidence[inside].mean())] if inside.any() else []
    assert expected_calibration_error(truth, probabilities) == pytest.approx(sum(gaps) / len(truth), abs=1e-9)


def test_the_calibration_error_of_certain_predictions_is_1_if_wrong_and_0_if_right():
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)[[1, 0]]) == 1
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0


def test_kappa_is_undefined_for_a_single_class_and_without_cases():
    one_class = confusion_matrix([1, 1], [1, 1], 3)
    assert math.isnan(kappa(one_class))
    assert (accuracy(one_class), f1(one_class).tolist()) == (1, [0, 1, 0])
    empty = np.zeros((2, 2), int)
    assert math.isnan(kappa(empty))
    assert (accuracy(empty), f1(empty).tolist()) == (0, [0, 0])


@given(st.integers(0, 99))
def test_an_array_of_matrices_gives_an_array_of_scores(seed):
    matrices = np.random.default_rng(seed).integers(0, 4, (2, 3, 4, 4))
    for statistic in (kappa, accuracy, f1):
        expected = [[statistic(matrix) for matrix in row] for row in matrices]
        np.testing.assert_array_equal(statistic(matrices), expected)


def test_a_single_matrix_gives_scalars():
    confusion = confusion_matrix([0, 1, 1], [0, 1, 0], 2)
    assert isinstance(kappa(confusion), float)
    assert isinstance(accuracy(confusion), float)
    assert f1(confusion).dtype == np.float64


@given(labels_and_probabilities())
def test_auc_equals_the_mean_of_scikit_learn_over_classes_with_both_outcomes(case):
    truth, probabilities = case
    classes = probabilities.shape[1]
    tested = [1] if classes == 2 else range(classes)
    areas = [
        oracle.roc_auc_score(truth == label, probabilities[:, label])
        for label in tested
        if 0 < (truth == label).sum() < len(truth)
    ]
    assert auc(truth, probabilities) == (pytest.approx(np.mean(areas), abs=1e-12) if areas else None)


def test_auc_of_all_classes_equals_macro_one_vs_rest_of_scikit_learn():
    truth = np.arange(60) % 5
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 60)
    expected = oracle.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    assert auc(truth, probabilities) == pytest.approx(expected, abs=1e-12)


def test_auc_of_two_classes_is_the_auc_of_class_1():
    assert auc([0, 1], [[0.3, 0.1], [0.3, 0.2]]) == 1


@given(labels_and_probabilities())
def test_cross_entropy_equals_that_of_scikit_learn(case):
    truth, probabilities = case
    expected = oracle.log_loss(truth, probabilities, labels=range(probabilities.shape[1]))
    assert cross_entropy(truth, probabilities) == pytest.approx(expected, abs=1e-12)


def test_a_probability_of_0_for_the_true_class_adds_a_loss_of_16_nats():
    assert cross_entropy([0, 1], [[0, 1], [0, 1]]) == pytest.approx(-np.log(1e-7) / 2)


def test_predictions_and_labels_must_have_equal_length():
    with pytest.raises(TrainerError) as error:
        confusion_matrix([0, 1], [0], 2)
    assert str(error.value) == "2 true labels and 1 predictions; expected one for each case"
