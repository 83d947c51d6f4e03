"""The arrays of the authors' code, with its faults: `--preset original`, to compare with published results."""

from __future__ import annotations

import numpy as np

from pipeline.readers.nifti import Scan
from pipeline.transforms.spline import rotate_by_spline
from pipeline.transforms.window import Window
from pipeline.transforms.zoom import Zoom


def original_volume(scan: Scan, window: Window, shape: tuple[int, int, int]) -> np.ndarray:
    """The file's own (x, y, z), rotated by 90° and zoomed to `shape` with order 1 in mode constant; float32, unclipped.

    The authors rotate by splines. On a square plane that is exact, here `rot90(raw.T) == raw[::-1]`.
    """
    x, y, z = scan.shape
    is_square = x == y
    zoom = Zoom((z, x, y), shape, 1, mode="constant", flips=(False, is_square, False))
    for raw in scan.slices():
        plane = window(raw)
        zoom.feed(plane if is_square else rotate_by_spline(plane.T))
    return zoom.result()
