"""NIfTI files, plain and compressed."""

import gzip
from pathlib import Path
from typing import Any

from tests.faults.fuzz.byte_changes import change_bytes, change_gzip
from tests.faults.fuzz.target import Target


def nifti(folder: Path) -> Target:
    return Target(_scans(), ".nii", change_bytes, read_scan)


def nifti_gz(folder: Path) -> Target:
    return Target([gzip.compress(data, 1) for data in _scans()], ".nii.gz", change_gzip, read_scan)


def _scans() -> list[bytes]:
    """Scans of several dtypes, in both byte orders."""
    import nibabel as nib
    import numpy as np

    scans = []
    affine = np.array([[-2.0, 0, 0, 5], [0, 0, 3.0, 6], [0, -4.0, 0, 7], [0, 0, 0, 1]])
    for number, dtype in enumerate(("<i2", ">i2", "<f4", "u1", ">f8")):
        values = np.random.default_rng(number).integers(0, 200, (4, 5, 6)).astype(dtype)
        image = nib.Nifti2Image if number == 2 else nib.Nifti1Image
        header = image.header_class(endianness=dtype[0] if dtype[0] in "<>" else "<")
        header.set_data_dtype(dtype)
        scans.append(image(values, affine, header).to_bytes())
    return scans


def read_scan(path: Path) -> Any:
    from pipeline.transforms.ct import ct_volume

    return ct_volume((path,), depth=2, height=3, width=4, order=1)
