"""Class weights are scikit-learn's, and the paper's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from tests.helpers.errors import error_message
from trainer.data.class_weights import class_weights


def test_the_class_weights_are_the_papers():
    weights = class_weights(np.repeat(range(5), [335, 180, 81, 80, 56]), 5)
    assert weights.round(4).tolist() == [0.4370, 0.8133, 1.8074, 1.8300, 2.6143]


@given(st.lists(st.integers(-1, 5), max_size=50))
def test_the_class_weights_are_scikit_learns_and_0_for_a_class_without_samples(labels):
    labels = np.array(labels, int)
    known = labels[labels >= 0]
    present = np.unique(known)
    weights = class_weights(labels, 6)
    assert weights.dtype == np.float64
    if present.size:
        wanted = compute_class_weight("balanced", classes=present, y=known)
        np.testing.assert_allclose(weights[present], wanted, rtol=1e-12)
    assert np.flatnonzero(weights).tolist() == present.tolist()


def test_a_label_beyond_the_classes_has_no_weight():
    assert error_message(class_weights, [0, 5], 5) == "label 5 among 5 classes; expected 0 to 4"
