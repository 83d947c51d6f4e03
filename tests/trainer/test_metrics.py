"""A score has every metric by name; invalid input is rejected."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.predictions import labels_and_probabilities, random_predictions
from trainer.errors import TrainerError
from trainer.evaluation.bootstrap import bootstrap, paired_bootstrap
from trainer.evaluation.metrics import score
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.kappa import kappa

NAMES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")


def test_an_undefined_kappa_and_its_interval_are_null_in_json():
    scores = json.loads(json.dumps(score([1, 1], [[0.2, 0.8], [0.4, 0.6]], "ab"), allow_nan=False))
    assert (scores["kappa"], scores["ci95"]["kappa"]) == (None, [None, None])
    assert (scores["accuracy"], scores["ci95"]["accuracy"]) == (1, [1, 1])


def test_a_constant_prediction_has_kappa_0():
    scores = score([0, 1, 1], [[0.2, 0.8]] * 3, "ab")
    assert (scores["kappa"], scores["ci95"]["kappa"]) == (0, [0, 0])


def test_thousands_of_classes_take_little_memory():
    """A confusion matrix for each resample would need 2,000 × 2,010² numbers, 60 GB."""
    classes = 2010
    truth, predicted = random_predictions(3000, classes, 0.6)
    probabilities = np.full((3000, classes), 1e-4, np.float32)
    probabilities[np.arange(3000), predicted] = 1
    tracemalloc.start()
    try:
        scores = score(truth, probabilities, [f"class {number}" for number in range(classes)])
        paired_bootstrap(truth, predicted, np.roll(predicted, 1), classes, resamples=200)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500e6
    low, high = scores["ci95"]["kappa"]
    assert low < scores["kappa"] < high


def test_the_score_has_every_metric_by_name():
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    scores = score(truth, probabilities, ("left", "right"))
    ci95 = scores.pop("ci95")
    assert scores == {
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
    assert ci95["kappa"] == list(bootstrap(scores["confusion"], kappa))
    assert ci95["accuracy"] == list(bootstrap(scores["confusion"], accuracy))
    assert list(ci95["f1"]) == ["left", "right"]


@settings(max_examples=25)
@given(labels_and_probabilities(), st.integers(0, 3))
def test_a_score_is_finite_json_with_intervals_in_range(case, seed):
    truth, probabilities = case
    names = NAMES[: probabilities.shape[1]] + ("sixth",) * (probabilities.shape[1] > 5)
    scores = score(truth, np.float32(probabilities), names, seed)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["n"] == len(truth) == np.sum(scores["confusion"])
    assert list(scores["f1"]) == list(scores["ci95"]["f1"]) == scores["class_names"] == list(names)
    assert (scores["kappa"] is None) == (scores["ci95"]["kappa"] == [None, None])
    for low, high in (scores["ci95"]["kappa"], scores["ci95"]["accuracy"], *scores["ci95"]["f1"].values()):
        assert low is None or -1 <= low <= high <= 1


def test_the_first_class_of_equal_probabilities_is_predicted():
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
def test_invalid_input_to_a_score_is_rejected(truth, probabilities, names, message):
    with pytest.raises(TrainerError) as error:
        score(truth, probabilities, names)
    assert str(error.value) == message
