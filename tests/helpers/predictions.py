"""Random labels with predictions or probabilities."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def labels_and_probabilities(draw, least=2):
    """(truth, probabilities): each row sums to 1, many values tie, none is 0."""
    classes = draw(st.integers(least, 6))
    weights = st.lists(st.integers(1, 4), min_size=classes, max_size=classes)
    cases = draw(st.lists(st.tuples(st.integers(0, classes - 1), weights), min_size=1, max_size=30))
    weights = np.array([weight for _, weight in cases], float)
    return np.array([truth for truth, _ in cases]), weights / weights.sum(1, keepdims=True)


def random_predictions(n, classes, right, seed=0):
    """Labels of `n` cases, and predictions: the label with probability `right`, otherwise a random class."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, n)
    return truth, np.where(generator.random(n) < right, truth, generator.integers(0, classes, n))
