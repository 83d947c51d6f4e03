"""Orientation: a scan's file axes become (depth, row, column) toward the patient's Superior, Posterior, Left.

An axis that runs against the target direction is read backwards by its zoom matrix, which is the same as flipping the
scan first. Only the small zoomed volume is transposed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Target direction along each world axis (R, A, S), as a step: Left and Posterior run against R and A.
STEPS = (-1, -1, +1)
SUPERIOR = 2  # world axis of the sample's depth

Axes = Sequence[tuple[int, int]]  # for each array axis: its world axis (0 R, 1 A, 2 S), +1 along it or -1 against


def sizes_in_file_order(shape: tuple[int, int, int], axes: Axes) -> list[int]:
    """The sizes of a (depth, height, width) sample along `axes`."""
    return [shape[SUPERIOR - world] for world, _ in axes]


def flips(axes: Axes) -> list[bool]:
    """Which of `axes` run against the target direction."""
    return [step != STEPS[world] for world, step in axes]


def to_spl(volume: np.ndarray, axes: Axes) -> np.ndarray:
    """`volume`, whose axes run along `axes`, transposed to (Superior, Posterior, Left); a view."""
    worlds = [world for world, _ in axes]
    return volume.transpose([worlds.index(world) for world in (2, 1, 0)])
