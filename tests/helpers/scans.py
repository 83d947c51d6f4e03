"""Tiny NIfTI scans, valid and invalid."""

import nibabel as nib
import numpy as np

INVALID = "gzip data without .gz in its name; expected plain NIfTI; rename it so that it ends in .gz"


def write_scan(path, number=0, shape=(6, 7, 20)):
    data = np.random.default_rng(number).integers(-1000, 400, shape, np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([-40.0, -40.0, 5.0, 1.0])), path)
    return path


def write_invalid(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x1f\x8bnothing")
    return path
