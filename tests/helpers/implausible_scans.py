"""Scans in HU and scans that are not, for the tests of checks."""

import numpy as np

RAS = np.diag([2.0, 2.0, 5.0, 1.0])
HU = (-1000.0, 400.0)


def names(texts):
    return {text.partition(":")[0] for text in texts}
