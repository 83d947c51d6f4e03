"""Figures of a sample, measured while it is in memory; `checks.ct` and `checks.video` compare them with the limits."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.checks.limits import HIGHEST_AIR, LOWEST_AIR, LOWEST_DENSE, SOFT_TISSUE

MAX_VOXELS = 200_000  # of a scan that are measured, roughly; sorting them takes most of the time
PADDING_SPREAD = 50.0  # HU; interpolation spreads a padding value by this much


@dataclass(frozen=True)
class Measurements:
    """Figures of one scan.

    Shares are from 0 to 1, of the finite voxels that were measured. x, y and z are the patient's axes: left to right,
    front to back and along the body, independent of the file's axis order.
    """

    voxels: float  # number of voxels measured
    distinct: float  # different values among them
    nonfinite: float  # share of all voxels
    least: float  # HU
    low: float  # HU, first percentile without padding
    middle: float  # HU, median
    high: float  # HU, 99th percentile
    most: float  # HU
    padding: float  # share of voxels near one value far below air
    below_air: float  # share of other voxels below air
    air: float  # share of voxels, lung included
    air_spread: float  # HU, between the 2nd and the 98th percentile of air
    soft_tissue: float  # share of voxels
    bright: float  # share of voxels between soft tissue and dense
    dense: float  # share of voxels
    clipped_low: float  # share of voxels
    clipped_high: float  # share of voxels
    slices: float  # along z
    spacing_x: float  # mm
    spacing_y: float  # mm
    spacing_z: float  # mm
    extent_x: float  # mm
    extent_y: float  # mm
    extent_z: float  # mm
    origin: float  # mm from the first voxel to the origin of the coordinates; 0 where the header has none

    def to_json(self) -> dict[str, float]:
        return {name: round(float(value), 4) for name, value in asdict(self).items()}


class VoxelSample:
    """A regular sample of the stored values of a scan, about `MAX_VOXELS` of them, taken slice by slice."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype) -> None:
        """`shape` is (slices, rows, columns) in file order."""
        slices, rows, columns = shape
        self._step = step = max(1, math.ceil(math.sqrt(slices * rows * columns / MAX_VOXELS)))
        size = slices, math.ceil(rows / step), math.ceil(columns / step)
        self._values = np.empty(size, dtype.newbyteorder("="))
        self._count = 0

    def add(self, plane: np.ndarray) -> None:
        """Add the next raw (rows, columns) slice."""
        self._values[self._count] = plane[:: self._step, :: self._step]
        self._count += 1

    def hu(self, slope: float, inter: float) -> tuple[np.ndarray, int]:
        """The finite values in HU, float64, ascending; and the number of different stored values."""
        raw = np.sort(self._values[: self._count], axis=None)
        with np.errstate(all="ignore"):
            hu = raw.astype(np.float64) * slope + inter
        finite = np.isfinite(hu)
        raw, hu = raw[finite], hu[finite]
        distinct = int(np.count_nonzero(raw[1:] != raw[:-1])) + bool(raw.size)
        return (hu if slope > 0 else hu[::-1]), distinct


def measure(
    hu: np.ndarray,
    distinct: int,
    *,
    nonfinite: float,
    window: tuple[float, float],
    shape: Sequence[int],
    spacing: Sequence[float],
    origin: float,
) -> Measurements:
    """The figures of a scan from its ascending finite values `hu`; `shape` and `spacing` (mm) are along (x, y, z).

    A scan without finite values is measured as air, as its sample is stored.
    """
    hu = hu if hu.size else np.array([-1000.0])
    padding = _padding(hu)
    unpadded = np.concatenate((hu[: padding.start], hu[padding.stop :]))
    padded = (padding.stop - padding.start) / hu.size
    air = hu[slice(*np.searchsorted(hu, (LOWEST_AIR, HIGHEST_AIR)))]
    return Measurements(
        voxels=hu.size,
        distinct=distinct,
        nonfinite=nonfinite,
        least=hu[0],
        low=_quantile(unpadded if unpadded.size else hu, 0.01),
        middle=_quantile(hu, 0.5),
        high=_quantile(hu, 0.99),
        most=hu[-1],
        padding=padded,
        below_air=_share(hu, -np.inf, LOWEST_AIR) - padded,
        air=air.size / hu.size,
        air_spread=_quantile(air, 0.98) - _quantile(air, 0.02) if air.size else 0.0,
        soft_tissue=_share(hu, *SOFT_TISSUE),
        bright=_share(hu, SOFT_TISSUE[1], LOWEST_DENSE),
        dense=_share(hu, LOWEST_DENSE, np.inf),
        clipped_low=_share(hu, -np.inf, window[0]),
        clipped_high=_share(hu, window[1], np.inf),
        slices=shape[2],
        **{f"spacing_{axis}": step for axis, step in zip("xyz", spacing, strict=True)},
        **{f"extent_{axis}": size * step for axis, size, step in zip("xyz", shape, spacing, strict=True)},
        origin=origin,
    )


def _padding(hu: np.ndarray) -> slice:
    """The range in ascending `hu` of the padding outside the scan circle, such as -2000 or -3024."""
    level = _quantile(hu, 0.01)
    if level >= LOWEST_AIR:
        return slice(0, 0)
    first, last = np.searchsorted(hu, (level - PADDING_SPREAD, min(level + PADDING_SPREAD, LOWEST_AIR)))
    return slice(int(first), int(last))


def _quantile(ascending: np.ndarray, share: float) -> float:
    return float(ascending[round(share * (ascending.size - 1))])


def _share(ascending: np.ndarray, low: float, high: float) -> float:
    """The share of values in [low, high)."""
    first, last = np.searchsorted(ascending, (low, high))
    return float(last - first) / ascending.size


def measure_clip(frames: np.ndarray) -> dict[str, float]:
    """The figures of a clip, uint8 (depth, height, width), in gray levels of 255.

    `change` is the largest change of any one pixel over the frames.
    """
    least, most = frames.min(axis=0), frames.max(axis=0)
    return {"darkest": float(least.min()), "brightest": float(most.max()), "change": float((most - least).max())}
