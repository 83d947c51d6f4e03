"""Class weights equal those of scikit-learn and of the paper."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from tests.helpers.errors import error_message
from trainer.data.class_weights import class_weights


def test_class_weights_equal_those_of_the_paper():
    weights = class_weights(np.repeat(range(5), [335, 180, 81, 80, 56]), 5)
    assert weights.round(4).tolist() == [0.4370, 0.8133, 1.8074, 1.8300, 2.6143]


@given(st.lists(st.integers(-1, 5), max_size=50))
def test_class_weights_equal_those_of_scikit_learn_and_are_0_for_missing_classes(labels):
    labels = np.array(labels, int)
    labelled = labels[labels >= 0]
    present = np.unique(labelled)
    weights = class_weights(labels, 6)
    assert weights.dtype == np.float64
    if present.size:
        expected = compute_class_weight("balanced", classes=present, y=labelled)
        np.testing.assert_allclose(weights[present], expected, rtol=1e-12)
    assert np.flatnonzero(weights).tolist() == present.tolist()


def test_a_label_beyond_the_classes_is_rejected():
    assert error_message(class_weights, [0, 5], 5) == "label 5 among 5 classes; expected 0 to 4"
