"""The voxels that a NIfTI header describes: shape, stored type, offset in the file and scaling to HU."""

from __future__ import annotations

import math

import numpy as np
from nibabel import nifti1

from pipeline.errors import InvalidInput
from pipeline.readers.nifti.header import WRONG_HEADER

MAX_AXIS = 4096  # voxels; far above any CT, and it bounds the size of one slice
MAX_OFFSET = 1 << 26  # bytes before the voxels: a header and its extensions
CONVERT = "convert it to single-channel NIfTI, e.g. with dcm2niix"


def read_shape(header: nifti1.Nifti1Header, notes: list[str]) -> tuple[int, int, int]:
    """The sizes of the three axes, in file order. Raises InvalidInput unless the header describes one 3-D volume."""
    count, *sizes = (int(size) for size in header["dim"])
    if not 3 <= count <= 7:
        remedy = "export the CT as one 3-D volume" if count in (1, 2) else WRONG_HEADER
        raise InvalidInput(f"an image of {count} dimensions", "3", remedy)
    problem = " x ".join(map(str, sizes[:count])) + " voxels"
    if min(sizes[3:count], default=1) < 1:
        notes.append(f"dim says {problem}: sizes below 1 after the third were treated as 1, as by the NIfTI library")
    shape = [*sizes[:3], *(max(size, 1) for size in sizes[3:count])]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if min(shape) < 1:
        raise InvalidInput(problem, "positive sizes", WRONG_HEADER)
    if len(shape) > 3:
        raise _not_one_volume(shape, problem)
    if min(shape) < 2 or max(shape) > MAX_AXIS:
        raise InvalidInput(
            problem, f"2 to {MAX_AXIS} along each axis", "check that this is a CT volume, or resample it"
        )
    return shape[0], shape[1], shape[2]


def _not_one_volume(shape: list[int], problem: str) -> InvalidInput:
    """The error for a `shape` of four axes or more, naming the likely axis of channels.

    An axis of size 1 before the last is not dropped, since the affine belongs to the first three axes.
    """
    single = [str(axis) for axis, size in enumerate(shape, 1) if size == 1]
    if len(shape) - len(single) == 3:
        axes = f"{'axis' if len(single) == 1 else 'axes'} {' and '.join(single)}"
        remedy = f"remove {axes}, e.g. by numpy.squeeze, and save the rest with the affine of its own three axes"
        return InvalidInput(f"{problem}, of size 1 along {axes} (a channel?)", "three axes", remedy)
    if len(shape) == 4 and shape[0] <= 4 < min(shape[1:]):
        remedy = "keep one channel, data[0] in NumPy, and save it with the affine of its own three axes"
        return InvalidInput(
            f"{problem}, more than one volume: axis 1 looks like {shape[0]} channels", "three axes", remedy
        )
    return InvalidInput(f"{problem}, more than one volume", "one 3-D volume", "split it and keep one volume")


def read_dtype(header: nifti1.Nifti1Header) -> np.dtype:
    """The stored type, with its byte order. Raises InvalidInput for colour, complex and 128-bit voxels."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = "colour" if dtype.names else dtype.name
        raise InvalidInput(f"{name} voxels", "8 to 64-bit integers or 32 or 64-bit floats", CONVERT)
    return dtype


def read_offset(header: nifti1.Nifti1Header, length: int) -> int:
    """The offset of the voxels in their file, in bytes; `length` bytes of it have been read."""
    offset = float(header["vox_offset"])
    lowest = length + 4 if length else 0  # four bytes after the header say whether it has extensions
    if not offset.is_integer() or not lowest <= offset <= MAX_OFFSET:
        expected = f"a whole number from {lowest} to {MAX_OFFSET}"
        raise InvalidInput(f"vox_offset {offset:.15g}", expected, WRONG_HEADER)
    return int(offset)


def read_scaling(header: nifti1.Nifti1Header, notes: list[str]) -> tuple[float, float]:
    """(slope, intercept) from stored values to HU; (1, 0) if the header has no valid slope."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        dropped = f"; its scl_inter of {inter:g} was not added" if inter and math.isfinite(inter) else ""
        notes.append(f"scl_slope is {slope:g}, which means no scaling{dropped}")
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise InvalidInput(f"scl_inter {inter:g}", "a finite intercept", "correct the header's scl_inter")
    return slope, inter
