"""Paint HU values on a voxel grid, in millimetres: surfaces, and rods for vessels and nodules.

Every surface is a signed distance (mm, positive inside); every pipe, vessel and nodule is a capsule. Details thinner
than the grid are drawn about one voxel wide, so that a 2 mm nodule is still visible on a coarse grid.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

FIELD = (280.0, 345.0, 345.0)  # mm along (z, y, x): a grid of this size holds any of our chests
AIR = -1000  # HU


class Canvas:
    """HU values on a grid (mm), painted from the outside in: each layer covers those below it.

    `shape` is (slice, row, column), `spacing` is mm between voxel centres along these axes, and `size` is the size of
    the chest relative to an average one: the grid is scaled instead of the chest.
    """

    def __init__(self, shape: Shape, spacing: Spacing, size: Spacing) -> None:
        middle = (FIELD[0] / 2, 0.0, 0.0)
        self.pitch = np.array([step / scale for step, scale in zip(spacing, size, strict=True)])
        self.axes = [
            ((np.arange(n) - (n - 1) / 2) * step + at).astype(np.float32)
            for n, step, at in zip(shape, self.pitch, middle, strict=True)
        ]
        self.z, self.y, self.x = np.ix_(*self.axes)
        self.hu = np.full(shape, AIR, np.float32)
        self.inside = np.ones(shape, np.float32)  # share of each voxel that capsules may paint; later the lungs

    def cover(self, depth: Array) -> Array:
        """Share of each voxel inside a surface, from the distance (mm) of its centre."""
        return np.clip(0.5 + depth / self.pitch[1], 0, 1)

    def fill(self, depth: Array, hu: float | Array) -> None:
        """Paint the inside of a surface."""
        self.hu += self.cover(depth) * (hu - self.hu)

    def capsule(
        self, start: Array, end: Array, radius: float, hu: float, soft: float = 0.0, strength: float = 1.0
    ) -> None:
        """Paint a rod with round ends (a ball if start equals end), whose border is `soft` mm wide or one voxel."""
        stretch = np.maximum(1, 0.6 * self.pitch / radius)  # at least about a voxel wide along each axis
        edge = max(soft, float(self.pitch[1] / stretch[1]))
        reach = (radius + edge / 2) * stretch
        first = [float(axis[0]) for axis in self.axes]
        low = np.floor((np.minimum(start, end) - reach - first) / self.pitch).astype(int).clip(0)
        high = np.ceil((np.maximum(start, end) + reach - first) / self.pitch).astype(int) + 1
        box = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
        if 0 in self.hu[box].shape:
            return
        gap = [(axis[part] - at) / s for axis, part, at, s in zip(self.axes, box, start, stretch, strict=True)]
        z, y, x = np.ix_(*gap)
        along = (end - start) / stretch
        length = float(along @ along) or 1.0
        t = np.clip((z * along[0] + y * along[1] + x * along[2]) / length, 0, 1)
        distance = np.sqrt((z - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (x - t * along[2]) ** 2)
        share = np.clip(0.5 + (radius - distance) / edge, 0, 1) * self.inside[box] * strength
        self.hu[box] += share * (hu - self.hu[box])
