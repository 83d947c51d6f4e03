"""NIfTI files as bytes, with any header field changed, and functions that read them."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.errors import InvalidInput
from pipeline.readers.nifti import open_scan

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
SHAPE = (6, 7, 8)
LPS = np.diag([-1.0, -2.0, 3.0, 1.0])

# NIfTI-1 header fields: byte offset and struct format
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, INTER = (40, "8h"), (70, "h"), (76, "8f"), (108, "f"), (112, "f"), (116, "f")
QFORM_CODE, SFORM_CODE, SROW, MAGIC = (252, "h"), (254, "h"), (280, "12f"), (344, "4s")


def voxels(dtype="int16", shape=SHAPE):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def nifti(data=None, *, kind=nib.Nifti1Image, affine=LPS):
    """The bytes of a single-file NIfTI: 352 of header, then the voxels."""
    return kind(voxels() if data is None else data, affine, dtype=None if data is None else data.dtype).to_bytes()


def patched(*changes, image=None):
    """A file with a changed header; each change is a field and its new values."""
    raw = bytearray(nifti() if image is None else image)
    for (offset, layout), *values in changes:
        struct.pack_into("<" + layout, raw, offset, *values)
    return bytes(raw)


def dims(*sizes):
    return patched((DIM, len(sizes), *sizes, *[1] * (7 - len(sizes))))


def read(paths):
    """Read a scan; return it, its voxels in file order, and its digest."""
    with open_scan(paths) as scan:
        array = np.stack([raw.copy() for raw in scan.slices()]).T
        return scan, array, scan.digest


def refusal(paths):
    """The error that rejects a scan; each of its three parts must be one non-empty, printable line."""
    with pytest.raises(InvalidInput) as caught:
        read(paths)
    error = caught.value
    for part in (error.problem, error.expected, error.remedy):
        assert part
        assert part.isprintable()
    return error


def notes(write, *changes, affine=LPS):
    return read(write(patched(*changes, image=nifti(affine=affine))))[0].notes
