"""Fixtures for scans to check."""

import nibabel as nib
import numpy as np
import pytest

from pipeline.demo.phantoms import scan
from pipeline.transforms.ct import ct_volume
from tests.helpers.implausible_scans import RAS


@pytest.fixture
def flags_of(tmp_path):
    def flags_of(data, affine=RAS, **options):
        """The flags of a scan with these values, and its record."""
        data = data if data.dtype.kind == "f" or data.dtype.itemsize < 4 else data.astype(np.int32)
        path = tmp_path / "scan.nii"
        nib.save(nib.Nifti1Image(data, affine), path)
        record = ct_volume((path,), **{"depth": 4, "height": 8, "width": 8, "order": 1} | options)[2]
        return record["flags"], record

    return flags_of


@pytest.fixture(scope="module")
def chest():
    """Healthy lungs in HU, axes toward Right, Anterior, Superior as in `RAS`."""
    return np.ascontiguousarray(scan(0, 7, (40, 96, 96), (5, 3.6, 3.6)).transpose()[::-1, ::-1]).astype(np.int32)
