"""A CT scan's files -> one volume, windowed, zoomed and turned to Superior, Posterior, Left.

The scan goes by slice by slice: raw slice -> window -> zoom of its two axes -> sum along the third. The zoom
works in file order, as slices come; only its small result is transposed. An axis that runs against
the wanted direction is read backwards by its zoom matrix, which is exactly turning the scan first.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checks.measure import Measured, VoxelSample, measure
from pipeline.checks.plausibility import flags
from pipeline.readers.nifti import Scan, open_scan
from pipeline.transforms.zoom import Zoom, rotate_by_spline

AIR = -1000.0  # HU; what a voxel that is no number counts as
# Wanted direction along each world axis (R, A, S), as a step: Left and Posterior run against R and A.
LPS = (-1, -1, +1)


def ct_volume(
    paths: tuple[Path, ...],
    *,
    depth: int,
    height: int,
    width: int,
    order: int,
    window: tuple[float, float] = (-1000.0, 400.0),
    preset: str = "paper",
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Read one scan (`.nii`, `.nii.gz` or a `(.hdr, .img)` pair) as a sample.

    Returns the volume, float32 (depth, height, width), finite, in [0, 1], C-contiguous; the xxh3_128 of the
    files' bytes; and a JSON-ready record of the source. The window (low, high) in HU becomes [0, 1] before
    the zoom. Equal to `scipy.ndimage.zoom` on float64 to 1e-5. Preset "original" gives the original
    code's array instead, always of order 1. Raises InvalidInput for what cannot become a sample, else OSError.
    """
    shape = depth, height, width
    with open_scan(paths) as scan:
        windowed = Window(scan, *window)
        volume = _as_original(scan, windowed, shape) if preset == "original" else _lps(scan, windowed, shape, order)
        volume = np.ascontiguousarray(np.clip(volume, 0, 1, out=volume))  # splines overshoot
        return volume, scan.digest, _record(scan, windowed)


def _record(scan: Scan, windowed: Window) -> dict[str, Any]:
    measured = windowed.measured()
    return {
        "shape": list(scan.shape),
        "dtype": scan.dtype.str,
        "slope": scan.slope,
        "inter": scan.inter,
        "orientation": scan.orientation,
        "spacing": list(scan.spacing),
        "nonfinite": windowed.nonfinite,
        "notes": list(scan.notes),
        "measured": measured.to_json(),
        "flags": flags(measured),
    }


class Window:
    """Raw slices of a scan -> float32 slices in [0, 1], in one buffer that the next slice overwrites.

    Voxels that are not finite in HU become air and are counted in `nonfinite`. A part of all is kept for `measured`.
    """

    def __init__(self, scan: Scan, low: float, high: float) -> None:
        self.nonfinite = 0
        self._sample = VoxelSample(scan.shape[::-1], scan.dtype)
        self._scan, self._low, self._range = scan, low, high - low
        self._factor = scan.slope / self._range
        self._offset = (scan.inter - low) / self._range
        self._air = np.clip((AIR - low) / self._range, 0, 1)
        self._out = np.empty(scan.shape[1::-1], np.float32)
        self._apply = self._narrow if self._float32_is_enough() else self._wide

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        self._sample.add(raw)
        with np.errstate(all="ignore"):  # what overflows or isn't a number is dealt with, not warned about
            finite = self._apply(raw)
        np.clip(self._out, 0, 1, out=self._out)
        if finite is not None and not finite.all():
            self.nonfinite += finite.size - int(np.count_nonzero(finite))
            self._out[~finite] = self._air
        return self._out

    def measured(self) -> Measured:
        """What the slices so far look like, in HU and in mm along the patient's axes."""
        scan = self._scan
        order = [[world for world, _ in scan.axes].index(axis) for axis in range(3)]
        return measure(
            *self._sample.hu(scan.slope, scan.inter),
            nonfinite=self.nonfinite / math.prod(scan.shape),
            window=(self._low, self._low + self._range),
            shape=[scan.shape[axis] for axis in order],
            spacing=[scan.spacing[axis] for axis in order],
            origin=float(np.linalg.norm(scan.affine[:3, 3])) if scan.placed else 0.0,
        )

    def _float32_is_enough(self) -> bool:
        """Whether raw * factor + offset, rounded four times to 24 bits, stays within 2e-6 inside the window.

        There |raw * factor| <= 1 + |offset|, so the error is at most 3 * (1 + |offset|) * 2**-24,
        given that raw values are exact in float32 and the factor is a normal number.
        """
        kind, size = self._scan.dtype.kind, self._scan.dtype.itemsize
        exact = size <= 2 or (kind == "f" and size == 4)
        return exact and abs(self._offset) <= 8 and 1e-30 < abs(self._factor) < 1e30

    def _narrow(self, raw: np.ndarray) -> np.ndarray | None:
        np.copyto(self._out, raw)
        np.multiply(self._out, np.float32(self._factor), out=self._out)
        np.add(self._out, np.float32(self._offset), out=self._out)
        return np.isfinite(raw) if raw.dtype.kind == "f" else None

    def _wide(self, raw: np.ndarray) -> np.ndarray | None:
        values = raw * np.float64(self._scan.slope)
        values += np.float64(self._scan.inter)
        finite = np.isfinite(values)
        values -= self._low
        values /= self._range
        np.copyto(self._out, np.clip(values, 0, 1, out=values), casting="same_kind")
        return finite


def _lps(scan: Scan, windowed: Window, shape: tuple[int, int, int], order: int) -> np.ndarray:
    """The scan as (Superior, Posterior, Left), zoomed to `shape`; not contiguous, not clipped."""
    axes = scan.axes[::-1]  # arrays run slowest first, scans fastest first
    sizes = [shape[2 - world] for world, _ in axes]
    flips = [step != LPS[world] for world, step in axes]
    zoom = Zoom(scan.shape[::-1], sizes, order, flips=flips)
    for raw in scan.slices():
        zoom.feed(windowed(raw))
    worlds = [world for world, _ in axes]
    return zoom.result().transpose([worlds.index(world) for world in (2, 1, 0)])


def _as_original(scan: Scan, windowed: Window, shape: tuple[int, int, int]) -> np.ndarray:
    """What the original code made of the file's own (x, y, z): quarter turn, then zoom in mode constant.

    Its spline turn of a square plane is an exact one, here `rot90(raw.T) == raw[::-1]`; other planes go
    through the spline as there.
    """
    x, y, z = scan.shape
    square = x == y
    zoom = Zoom((z, x, y), shape, 1, mode="constant", flips=(False, square, False))
    for raw in scan.slices():
        plane = windowed(raw)
        zoom.feed(plane if square else rotate_by_spline(plane.T))
    return zoom.result()
