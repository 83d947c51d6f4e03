"""Constants and flag names for the tests of implausible scans."""

import numpy as np

RAS = np.diag([2.0, 2.0, 5.0, 1.0])
HU = (-1000.0, 400.0)


def names(texts):
    """The names of flags, which are the parts of their texts before a colon."""
    return {text.partition(":")[0] for text in texts}
