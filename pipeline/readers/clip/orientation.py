"""Orientation of a clip: the rotation and mirroring that its container asks a player for."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

RIGHT_ANGLE = math.tan(math.radians(0.5))  # a display matrix within half a degree of a right angle counts as one


@dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes the displayed one: mirrored left to right where `mirrored`, then rotated clockwise.

    `rotation` is in whole degrees. Only right angles are `exact` and applied; for other angles frames stay as stored.
    """

    rotation: int = 0
    mirrored: bool = False
    exact: bool = True

    @property
    def transposed(self) -> bool:
        """Whether a displayed frame is as wide as the stored frame is high."""
        return self.exact and self.rotation in (90, 270)

    def apply(self, plane: np.ndarray) -> np.ndarray:
        """`plane` (height, width) as it is displayed, C-contiguous; the same array where nothing changes."""
        if not self.exact or (self.rotation == 0 and not self.mirrored):
            return plane
        shown = plane[:, ::-1] if self.mirrored else plane
        return np.ascontiguousarray(np.rot90(shown, -self.rotation // 90))


def orientation(matrix: bytes) -> Orientation:
    """The orientation of a display matrix, nine 32-bit numbers as from FFmpeg.

    It maps a stored point (x, y) to (a·x + c·y, b·x + d·y). A matrix that maps all points to one line is ignored.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    determinant = a * d - b * c
    if determinant == 0:
        return Orientation()
    mirrored = determinant < 0
    sign = -1 if mirrored else 1
    rotation = round(math.degrees(math.atan2(sign * b, sign * a))) % 360
    straight = max(abs(b), abs(c)) <= RIGHT_ANGLE * min(abs(a), abs(d))
    across = max(abs(a), abs(d)) <= RIGHT_ANGLE * min(abs(b), abs(c))
    return Orientation(rotation, mirrored, straight or across)
