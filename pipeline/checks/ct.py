"""Plausibility of a scan: its figures are compared with the limits, and each one beyond them gives a flag.

A flag never rejects an input: the sample is made anyway. Its text has the measured value, the one of a chest CT, and a
remedy.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.checks.limits import (
    DEFAULT_PIXELS,
    HIGHEST_AIR,
    LENGTHS,
    LOWEST_AIR,
    LOWEST_DENSE,
    MAX_BELOW_AIR,
    MAX_BRIGHT,
    MAX_CLIPPED,
    MAX_DENSE,
    MAX_DENSE_FLAT,
    MAX_FEW_VALUES,
    MAX_FLAT_AIR,
    MAX_NONFINITE,
    MAX_PIXEL_RATIO,
    MAX_SLICE_SPACING,
    MIN_AIR,
    MIN_SLICES,
    MIN_SOFT_TISSUE,
    SOFT_TISSUE,
    WIDTHS,
)
from pipeline.checks.measure import Measurements


@dataclass(frozen=True)
class Check:
    """One check of a scan.

    Arguments:
        name: the first words of the flag.
        fails: whether the scan is flagged.
        text: the measured value, the one of a chest CT, and a remedy.
        uses_shares: True for shares of voxels, which are skipped for a scan with few values; that has its own flag.
    """

    name: str
    fails: Callable[[Measurements], bool]
    text: Callable[[Measurements], str]
    uses_shares: bool = False


CHECKS = (
    Check(
        "not finite",
        lambda m: m.nonfinite > MAX_NONFINITE,
        lambda m: (
            f"{_percent(m.nonfinite)} of voxels are NaN or infinite and were treated as air, "
            f"a valid scan has at most {_percent(MAX_NONFINITE)}; export it again"
        ),
    ),
    Check(
        "constant",
        lambda m: m.distinct == 1,
        lambda m: f"every voxel is {m.middle:g} HU, a CT has hundreds of different values; export it again",
    ),
    Check(
        "few values",
        lambda m: m.distinct > 1 and _has_few_values(m),
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
        uses_shares=True,
    ),
    Check(
        "no soft tissue",
        lambda m: m.soft_tissue < MIN_SOFT_TISSUE,
        lambda m: (
            f"{_percent(m.soft_tissue)} of voxels between {SOFT_TISSUE[0]:g} and {SOFT_TISSUE[1]:g} HU, "
            f"a chest CT has 15 % or more; {_cause(m)}"
        ),
        uses_shares=True,
    ),
    Check(
        "too dense",
        lambda m: m.dense > (MAX_DENSE if m.air_spread > MAX_FLAT_AIR else MAX_DENSE_FLAT),
        lambda m: f"{_percent(m.dense)} of voxels above {LOWEST_DENSE:g} HU, a chest CT has at most 5 %; {_cause(m)}",
        uses_shares=True,
    ),
    Check(
        "too bright",
        lambda m: m.bright > max(MAX_BRIGHT, 2 * m.soft_tissue),
        lambda m: (
            f"{_percent(m.bright)} of voxels between {SOFT_TISSUE[1]:g} and {LOWEST_DENSE:g} HU and "
            f"{_percent(m.soft_tissue)} between {SOFT_TISSUE[0]:g} and {SOFT_TISSUE[1]:g} HU, "
            "a chest CT has far more of the latter; values look inverted: export them in HU"
        ),
        uses_shares=True,
    ),
    Check(
        "below air",
        lambda m: m.below_air > MAX_BELOW_AIR,
        lambda m: (
            f"{_percent(m.below_air)} of voxels below {LOWEST_AIR:g} HU and not of one padding value, "
            f"a chest CT has none; {_cause(m)}"
        ),
        uses_shares=True,
    ),
    Check(
        "clipped",
        lambda m: m.clipped_low + m.clipped_high > MAX_CLIPPED,
        lambda m: (
            f"{_percent(m.clipped_low)} of voxels are below the window and {_percent(m.clipped_high)} above, a chest "
            "CT has some 20 % or more inside; check the values (HU expected), or choose another --window"
        ),
        uses_shares=True,
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
            "the default of software that does not know the spacing; convert it again from DICOM"
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


def flags(measured: Measurements) -> list[str]:
    """The flags of a scan: `name: measured, expected; remedy` for each check that fails."""
    has_few_values = _has_few_values(measured)
    checks = (check for check in CHECKS if not (has_few_values and check.uses_shares))
    return [f"{check.name}: {check.text(measured)}" for check in checks if check.fails(measured)]


CAUSES: tuple[tuple[Callable[[Measurements], bool], str], ...] = (
    (lambda m: m.low > 25_000, "values look 32768 too high: subtract 32768 from them, or set the header's intercept"),
    (
        lambda m: m.low < LOWEST_AIR and m.high < LOWEST_DENSE,
        "the rescale slope and intercept look applied twice: export the values in HU",
    ),
    (lambda m: m.least >= -1.05 and m.most <= 1.05, "values look scaled to [0, 1] or [-1, 1]: export them in HU"),
    (lambda m: -20 <= m.least < 0 and m.most <= 20, "values look standardised or scaled: export them in HU"),
    (lambda m: m.least >= -5 and m.most <= 260, "values look like 8-bit gray or another modality: export a CT in HU"),
    (
        lambda m: -150 < m.low < 150 and m.dense > 0.03,
        "values look shifted by +1024, or are not from a CT: check the modality and the rescale intercept",
    ),
    (
        lambda m: m.low >= LOWEST_AIR and m.high < SOFT_TISSUE[0],
        "everything but air and lung is missing: check if the rest was masked, or the rescale intercept applied twice",
    ),
    (lambda m: m.dense > MAX_DENSE_FLAT and m.low < -150, "values look inverted, shifted or scaled: export them in HU"),
)


def _cause(m: Measurements) -> str:
    """The likely cause of wrong values, and its remedy."""
    causes = (cause for applies, cause in CAUSES if applies(m))
    return next(causes, "check that this is a CT in HU, with its rescale slope and intercept")


def _has_few_values(m: Measurements) -> bool:
    return m.distinct <= min(MAX_FEW_VALUES, m.voxels / 4)


def _wide_at_1_mm(m: Measurements) -> bool:
    return min(m.extent_x, m.extent_y) >= DEFAULT_PIXELS


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
