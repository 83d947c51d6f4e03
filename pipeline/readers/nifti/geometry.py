"""The geometry of a NIfTI header: the affine, the direction of each file axis, and notes on unusual values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from nibabel import nifti1
from nibabel.orientations import aff2axcodes, io_orientation

from pipeline.errors import InvalidInput
from pipeline.readers.remedies import one_line

MIN_VOLUME = 1e-4  # of the parallelepiped of the three axis directions; gantry tilt leaves 0.8 and more
MIN_TILT = 1.0  # degrees from perpendicular axes that are noted
MAX_DISAGREEMENT = 1.0  # mm over the complete scan between sform and qform, origin apart
WRONG_UNITS = {1: "metres", 3: "micrometres"}  # xyzt_units -> name


def read_affine(header: nifti1.Nifti1Header, notes: list[str]) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """The affine that nibabel would choose, and the direction in the world of each file axis.

    Raises InvalidInput where the affine does not define three axes.
    """
    remedy = "correct its sform or qform, or convert it again from DICOM"
    try:
        with np.errstate(all="ignore"):
            affine = np.array(header.get_best_affine(), np.float64)
            directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
            volume = abs(np.linalg.det(directions)) if np.isfinite(affine).all() else np.nan
            axes = io_orientation(affine)  # NaN for an axis without a direction
            if not volume > MIN_VOLUME or not np.isfinite(axes).all():
                raise ValueError("singular, not finite or ambiguous")
    except Exception as exc:
        raise InvalidInput(f"an unusable affine ({one_line(exc)})", "three independent axes", remedy) from exc
    notes += _affine_notes(header, affine, volume)
    return affine, tuple((int(world), int(step)) for world, step in axes)


def _affine_notes(header: nifti1.Nifti1Header, affine: np.ndarray, volume: float) -> Iterator[str]:
    """Notes on unusual orientation and spacing; `volume` is that of the parallelepiped of the axis directions."""
    sform, qform = bool(header["sform_code"] > 0), bool(header["qform_code"] > 0)
    if not sform and not qform:
        yield "no orientation codes: axes assumed to be nibabel's default, LAS"
    tilt = math.degrees(math.acos(min(1.0, volume)))
    if tilt > MIN_TILT:  # which a qform cannot express, so it would disagree
        yield f"its axes are {tilt:.0f} degrees from perpendicular (gantry tilt); the scan was not straightened"
    elif sform:
        yield from _disagreement(header, affine, qform)
    if (unit := int(header["xyzt_units"]) & 7) in WRONG_UNITS:
        yield f"its header says {WRONG_UNITS[unit]}; the spacing was assumed to be in millimetres"


def _disagreement(header: nifti1.Nifti1Header, sform: np.ndarray, qform: bool) -> Iterator[str]:
    """Where the sform, which is used, disagrees with the qform or, without one, with pixdim."""
    try:
        with np.errstate(all="ignore"):
            other = np.array(header.get_qform() if qform else header.get_base_affine(), np.float64)
    except (ValueError, ArithmeticError, nifti1.HeaderDataError) as exc:
        yield f"its qform cannot be read ({one_line(exc)}); the sform was used"
        return
    steps, others = np.linalg.norm(sform[:3, :3], axis=0), np.linalg.norm(other[:3, :3], axis=0)
    extent = np.maximum(header["dim"][1:4] - 1, 1)
    if not (np.abs(steps - others) * extent).max() <= MAX_DISAGREEMENT:
        name = "qform" if qform else "pixdim"
        yield f"its sform has a spacing of {_mm(steps)} and its {name} of {_mm(others)}; the sform was used"
    elif qform and not (np.abs(sform - other)[:3, :3] * extent).sum(axis=1).max() <= MAX_DISAGREEMENT:
        codes = "".join(aff2axcodes(sform)), "".join(aff2axcodes(other))
        difference = f"axes toward {codes[0]} and {codes[1]}" if codes[0] != codes[1] else "axes at different angles"
        yield f"its sform and qform have {difference}; the sform was used"


def _mm(steps: np.ndarray) -> str:
    return " × ".join(f"{step:.4g}" for step in steps) + " mm"
