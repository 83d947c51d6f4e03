"""Spline interpolation along one axis as a matrix: SciPy's zoom and rotation. Only this module imports SciPy."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

Mode = Literal["nearest", "constant"]

# Weights below this change float32 results in [0, 1] by less than rounding. They must become exact zeros:
# further from the diagonal they would be subnormal numbers, which make products ten times slower.
NEGLIGIBLE = 1e-8
REACH = 64  # columns; the slowest-decaying spline (order 5) has fallen to 2e-12 half of this away


def spline_weights(n_in: int, n_out: int, order: int, mode: Mode = "nearest") -> np.ndarray:
    """The float64 (n_out, n_in) matrix that is equal to `scipy.ndimage.zoom`, without its negligible entries.

    Rows keep the sum that SciPy gives them, so a constant stays constant. Columns `REACH` apart never meet in one
    output sample and share a call; calling SciPy for each column gives the same to 1e-11 in sixteen times the time.
    """
    step = min(REACH, n_in)
    rows = np.arange(n_out)
    centres = rows * ((n_in - 1) / max(n_out - 1, 1))  # where, on the input, each output sample lies
    exact = np.zeros((n_out, n_in))
    for first in range(step):
        comb = np.zeros(n_in)
        comb[first::step] = 1
        nearest = np.clip(np.rint((centres - first) / step), 0, (n_in - 1 - first) // step).astype(int)
        exact[rows, first + step * nearest] = ndimage.zoom(comb, n_out / n_in, order=order, mode=mode)
    kept = np.where(np.abs(exact) > NEGLIGIBLE, exact, 0)
    exact_sum, kept_sum = exact.sum(axis=1), kept.sum(axis=1)
    kept *= np.divide(exact_sum, kept_sum, out=np.ones(n_out), where=kept_sum != 0)[
        :, None
    ]  # mode constant: blank rows
    return kept


def rotate_by_spline(plane: np.ndarray) -> np.ndarray:
    """The authors' 90° rotation of one plane, `ndimage.rotate(…, 90, reshape=False)`, float32.

    On a square plane it equals `np.rot90`. Otherwise it crops, leaves blank edges and, where one side is even and the
    other odd, interpolates.
    """
    return ndimage.rotate(plane, 90, reshape=False)
