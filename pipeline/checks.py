"""Is this sample plausible? Figures measured while a sample is in memory, and the limits that they are held against.

A flag never refuses: the sample is made either way, and its record says what was measured, what a chest CT has
and what to do. Limits are wide, so that any real CT passes, a head, a limb or a cropped organ too; they tell CT in
HU from what only looks like it: shifted, scaled or inverted values, other modalities, masks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MAX_VOXELS = 200_000  # of a scan that are looked at, about; sorting them is what costs
LOWEST_AIR = -1200.0  # HU; below is padding outside the scan circle, or a fault
HIGHEST_AIR = -700.0  # HU; air and aerated lung are below
SOFT_TISSUE = (-200.0, 200.0)  # HU; fat, muscle, organs, blood
LOWEST_DENSE = 600.0  # HU; above are only dense bone, metal and contrast medium
PADDING_SPREAD = 50.0  # HU; what interpolation leaves around a padding value

MIN_AIR = 0.01  # share of voxels
MIN_SOFT_TISSUE = 0.02  # share of voxels; a limb in a wide field has 5 %
MAX_DENSE = 0.20  # share of voxels; a skull in a narrow field has 10 %
MAX_DENSE_FLAT = 0.08  # the same where all air has one value: maybe padding that a wrong intercept made look like air
MAX_FLAT_AIR = 1.0  # HU between the 2nd and the 98th percentile of air
MAX_BELOW_AIR = 0.10  # share of voxels, padding not counted
MAX_NONFINITE = 0.01  # share of voxels
MAX_FEW_VALUES = 50  # different values; 8-bit CT has some 200
MAX_CLIPPED = 0.98  # share of voxels that the window makes black or white
MIN_SLICES = 20
MAX_SLICE_SPACING = 12.0  # mm
MAX_PIXEL_RATIO = 2.0  # between the two spacings within an axial slice
WIDTHS = (100.0, 700.0)  # mm within an axial slice
LENGTHS = (50.0, 800.0)  # mm along the body
DEFAULT_PIXELS = 512  # along both axes of an axial slice; at 1 mm that is wider than a scanner's usual 500 mm

MAX_STILL = 8.0  # gray levels of 255 that a still may change by, from frame to frame, when encoded
MAX_FLAT = 8.0  # gray levels of 255


@dataclass(frozen=True)
class Measured:
    """Figures of one scan. Shares are from 0 to 1, of the finite voxels looked at; x, y and z are the patient's axes
    left to right, front to back and along the body, whatever the file's own order."""

    voxels: float  # how many were looked at
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


@dataclass(frozen=True)
class Check:
    """One line of the table: `fails` says if a sample is flagged, `text` what was measured, expected and to be done."""

    name: str
    fails: Callable[[Measured], bool]
    text: Callable[[Measured], str]


CHECKS = (
    Check(
        "not finite",
        lambda m: m.nonfinite > MAX_NONFINITE,
        lambda m: (
            f"{_percent(m.nonfinite)} of voxels are NaN or infinite and were taken as air, "
            f"a sound scan has at most {_percent(MAX_NONFINITE)}; export it again"
        ),
    ),
    Check(
        "constant",
        lambda m: m.distinct <= 1,
        lambda m: f"every voxel is {m.middle:g} HU, a CT has hundreds of different values; export it again",
    ),
    Check(
        "few values",
        lambda m: 1 < m.distinct <= min(MAX_FEW_VALUES, m.voxels / 4),
        lambda m: (
            f"{m.distinct:.0f} different values from {m.least:g} to {m.most:g}, a CT has hundreds; "
            "this looks like a mask: give the scan it was drawn on"
        ),
    ),
    Check(
        "no air",
        lambda m: m.air < MIN_AIR,
        lambda m: (
            f"{_percent(m.air)} of voxels between {LOWEST_AIR:g} and {HIGHEST_AIR:g} HU, a chest CT has 20 % or more; "
            f"{_cause(m)}"
        ),
    ),
    Check(
        "no soft tissue",
        lambda m: m.soft_tissue < MIN_SOFT_TISSUE,
        lambda m: (
            f"{_percent(m.soft_tissue)} of voxels between {SOFT_TISSUE[0]:g} and {SOFT_TISSUE[1]:g} HU, "
            f"a chest CT has 15 % or more; {_cause(m)}"
        ),
    ),
    Check(
        "too dense",
        lambda m: m.dense > (MAX_DENSE if m.air_spread > MAX_FLAT_AIR else MAX_DENSE_FLAT),
        lambda m: f"{_percent(m.dense)} of voxels above {LOWEST_DENSE:g} HU, a chest CT has at most 5 %; {_cause(m)}",
    ),
    Check(
        "below air",
        lambda m: m.below_air > MAX_BELOW_AIR,
        lambda m: (
            f"{_percent(m.below_air)} of voxels below {LOWEST_AIR:g} HU and not of one padding value, "
            f"a chest CT has none; {_cause(m)}"
        ),
    ),
    Check(
        "clipped",
        lambda m: m.clipped_low + m.clipped_high > MAX_CLIPPED,
        lambda m: (
            f"{_percent(m.clipped_low)} of voxels are below the window and {_percent(m.clipped_high)} above, a chest "
            "CT has some 20 % or more inside; check the values (HU expected), or choose another --window"
        ),
    ),
    Check(
        "few slices",
        lambda m: m.slices < MIN_SLICES,
        lambda m: (
            f"{m.slices:.0f} slices along the body, a chest CT has {MIN_SLICES} or more; "
            "check that this is neither a localizer nor a part of the scan"
        ),
    ),
    Check(
        "spacing never set",
        lambda m: m.spacing_x == m.spacing_y == m.spacing_z == 1 and (m.origin == 0 or _wide_at_1_mm(m)),
        lambda m: (
            f"spacing of exactly 1 × 1 × 1 mm for {m.extent_x:.0f} × {m.extent_y:.0f} × {m.extent_z:.0f} voxels, "
            "which is what software writes that knows none; convert it again from DICOM"
        ),
    ),
    Check(
        "slice spacing",
        lambda m: m.spacing_z > MAX_SLICE_SPACING,
        lambda m: (
            f"{m.spacing_z:.1f} mm from slice to slice, a chest CT has at most {MAX_SLICE_SPACING:g} mm; "
            "check the header's spacing and its units (mm expected)"
        ),
    ),
    Check(
        "pixels not square",
        lambda m: not 1 / MAX_PIXEL_RATIO <= m.spacing_x / m.spacing_y <= MAX_PIXEL_RATIO,
        lambda m: (
            f"pixels of {m.spacing_x:.2f} × {m.spacing_y:.2f} mm within an axial slice, a CT has square ones; "
            "check the header's orientation"
        ),
    ),
    Check(
        "extent",
        lambda m: not (_within(m.extent_x, WIDTHS) and _within(m.extent_y, WIDTHS) and _within(m.extent_z, LENGTHS)),
        lambda m: (
            f"{m.extent_x:.4g} × {m.extent_y:.4g} × {m.extent_z:.4g} mm (left-right, front-back, along the body), a "
            f"chest CT has {WIDTHS[0]:g} to {WIDTHS[1]:g} mm across and {LENGTHS[0]:g} to {LENGTHS[1]:g} mm along; "
            "check the header's spacing and its units (mm expected)"
        ),
    ),
)


def flags(measured: Measured) -> list[str]:
    """What is implausible about a scan, one text `name: measured, expected; remedy` for each check that fails."""
    return [f"{check.name}: {check.text(measured)}" for check in CHECKS if check.fails(measured)]


CAUSES: tuple[tuple[Callable[[Measured], bool], str], ...] = (
    (lambda m: m.low > 25_000, "values look 32768 too high: subtract 32768 from them, or set the header's intercept"),
    (
        lambda m: m.low < LOWEST_AIR and m.high < LOWEST_DENSE,
        "the rescale slope and intercept look applied twice: export the values in HU",
    ),
    (lambda m: m.least >= -1.05 and m.most <= 1.05, "values look scaled to [0, 1] or [-1, 1]: export them in HU"),
    (lambda m: m.least >= -5 and m.most <= 260, "values look like 8-bit gray or another modality: export a CT in HU"),
    (
        lambda m: -150 < m.low < 150 and m.dense > 0.03,
        "values look shifted by +1024, or are not a CT's: check the modality and the rescale intercept",
    ),
    (lambda m: m.dense > MAX_DENSE_FLAT and m.low < -150, "values look inverted, shifted or scaled: export them in HU"),
)


def _cause(m: Measured) -> str:
    """The likely reason for wrong values and its remedy."""
    known = (cause for applies, cause in CAUSES if applies(m))
    return next(known, "check that this is a CT in HU, with its rescale slope and intercept")


def _wide_at_1_mm(m: Measured) -> bool:
    return min(m.extent_x, m.extent_y) >= DEFAULT_PIXELS


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# -- measuring a scan --------------------------------------------------------------------------------------------------


class VoxelSample:
    """Stored values of every so many rows and columns of each slice, about `MAX_VOXELS` of a scan at most."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype) -> None:
        """`shape` is (slices, rows, columns) as they will come."""
        slices, rows, columns = shape
        self._step = step = max(1, math.ceil(math.sqrt(slices * rows * columns / MAX_VOXELS)))
        size = slices, math.ceil(rows / step), math.ceil(columns / step)
        self._values = np.empty(size, dtype.newbyteorder("="))
        self._count = 0

    def add(self, plane: np.ndarray) -> None:
        """Take the next raw (rows, columns) slice."""
        self._values[self._count] = plane[:: self._step, :: self._step]
        self._count += 1

    def hu(self, slope: float, inter: float) -> tuple[np.ndarray, int]:
        """The finite ones in HU, float64, ascending, and how many different stored values they have."""
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
) -> Measured:
    """The figures of a scan from its ascending finite values `hu`; `shape` and `spacing` (mm) are along (x, y, z).

    Without any finite value they are those of air, as the sample is.
    """
    hu = hu if hu.size else np.array([-1000.0])
    padding = _padding(hu)
    unpadded = np.concatenate((hu[: padding.start], hu[padding.stop :]))
    padded = (padding.stop - padding.start) / hu.size
    air = hu[slice(*np.searchsorted(hu, (LOWEST_AIR, HIGHEST_AIR)))]
    return Measured(
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
        dense=_share(hu, LOWEST_DENSE, np.inf),
        clipped_low=_share(hu, -np.inf, window[0]),
        clipped_high=_share(hu, window[1], np.inf),
        slices=shape[2],
        **{f"spacing_{axis}": step for axis, step in zip("xyz", spacing, strict=True)},
        **{f"extent_{axis}": size * step for axis, size, step in zip("xyz", shape, spacing, strict=True)},
        origin=origin,
    )


def _padding(hu: np.ndarray) -> slice:
    """Where in ascending `hu` the values are that scanners write outside their circle, such as -2000 or -3024."""
    level = _quantile(hu, 0.01)
    if level >= LOWEST_AIR:
        return slice(0, 0)
    first, last = np.searchsorted(hu, (level - PADDING_SPREAD, min(level + PADDING_SPREAD, LOWEST_AIR)))
    return slice(int(first), int(last))


def _quantile(ascending: np.ndarray, share: float) -> float:
    return float(ascending[round(share * (ascending.size - 1))])


def _share(ascending: np.ndarray, low: float, high: float) -> float:
    """Share of values from `low` up to, not including, `high`."""
    first, last = np.searchsorted(ascending, (low, high))
    return float(last - first) / ascending.size


# -- clips -------------------------------------------------------------------------------------------------------------


def clip_findings(frames: np.ndarray) -> dict[str, Any]:
    """`measured` (gray levels of 255) and `flags` for the record of a clip, uint8 (depth, height, width)."""
    least, most = frames.min(axis=0), frames.max(axis=0)
    darkest, brightest = float(least.min()), float(most.max())
    change = float((most - least).max())
    measured = {"darkest": darkest, "brightest": brightest, "change": change}
    return {"measured": measured, "flags": list(_clip_flags(measured))}


def _clip_flags(measured: Mapping[str, float]) -> Iterator[str]:
    darkest, brightest, change = (measured[name] for name in ("darkest", "brightest", "change"))
    if brightest - darkest <= MAX_FLAT:
        yield (
            f"constant: every pixel of every frame has a gray level from {darkest:.0f} to {brightest:.0f} of 255; "
            "check that the clip shows a picture"
        )
    elif change <= MAX_STILL:
        yield (
            f"still: no pixel changes by more than {change:.0f} of 255 over the frames taken, an action clip moves; "
            "check that this is not a still picture"
        )
