"""The HU window: raw slices of a scan become float32 in [0, 1]; voxels that are not finite become air."""

from __future__ import annotations

import math

import numpy as np

from pipeline.checks.measure import Measurements, VoxelSample, measure
from pipeline.readers.nifti import Scan

AIR = -1000.0  # HU of a voxel that is not finite


class Window:
    """Windows the raw slices of a scan: float32 in [0, 1], in one buffer that the next slice overwrites.

    Voxels that are not finite in HU become air and are counted in `nonfinite`. Some voxels are kept for `measured`.
    """

    def __init__(self, scan: Scan, low: float, high: float) -> None:
        self.nonfinite = 0
        self._sample = VoxelSample(scan.shape[::-1], scan.dtype)
        self._scan, self._low, self._range = scan, low, high - low
        self._factor = scan.slope / self._range
        self._offset = (scan.inter - low) / self._range
        self._air = np.clip((AIR - low) / self._range, 0, 1)
        self._out = np.empty(scan.shape[1::-1], np.float32)
        self._apply = self._apply_float32 if self._float32_is_enough() else self._apply_float64

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        self._sample.add(raw)
        with np.errstate(all="ignore"):  # overflows and NaN are handled below
            finite = self._apply(raw)
        np.clip(self._out, 0, 1, out=self._out)
        if finite is not None and not finite.all():
            self.nonfinite += finite.size - int(np.count_nonzero(finite))
            self._out[~finite] = self._air
        return self._out

    def measured(self) -> Measurements:
        """Figures of the slices so far, in HU and in mm along the patient's axes."""
        scan = self._scan
        order = [[world for world, _ in scan.axes].index(axis) for axis in range(3)]
        return measure(
            *self._sample.hu(scan.slope, scan.inter),
            nonfinite=self.nonfinite / math.prod(scan.shape),
            window=(self._low, self._low + self._range),
            shape=[scan.shape[axis] for axis in order],
            spacing=[scan.spacing[axis] for axis in order],
            origin=float(np.linalg.norm(scan.affine[:3, 3])) if scan.has_position else 0.0,
        )

    def _float32_is_enough(self) -> bool:
        """Whether raw * factor + offset, rounded four times to 24 bits, stays within 2e-6 inside the window.

        There |raw * factor| <= 1 + |offset|, so the error is at most 3 * (1 + |offset|) * 2**-24,
        since raw values are exact in float32 and the factor is a normal number.
        """
        kind, size = self._scan.dtype.kind, self._scan.dtype.itemsize
        exact = size <= 2 or (kind == "f" and size == 4)
        return exact and abs(self._offset) <= 8 and 1e-30 < abs(self._factor) < 1e30

    def _apply_float32(self, raw: np.ndarray) -> np.ndarray | None:
        np.copyto(self._out, raw)
        np.multiply(self._out, np.float32(self._factor), out=self._out)
        np.add(self._out, np.float32(self._offset), out=self._out)
        return np.isfinite(raw) if raw.dtype.kind == "f" else None

    def _apply_float64(self, raw: np.ndarray) -> np.ndarray | None:
        values = raw * np.float64(self._scan.slope)
        values += np.float64(self._scan.inter)
        finite = np.isfinite(values)
        values -= self._low
        values /= self._range
        np.copyto(self._out, np.clip(values, 0, 1, out=values), casting="same_kind")
        return finite
