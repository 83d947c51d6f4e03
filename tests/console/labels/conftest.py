"""Four scans, sheets of labels, and a cache with labels and patients."""

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.labelled import SCANS, ct


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, name in enumerate(SCANS):
        nib.save(nib.Nifti1Image(np.full((6, 6, 6), number, np.int16), np.diag([-1, -1, 1, 1])), folder / f"{name}.nii")
    return folder


@pytest.fixture
def csv(tmp_path):
    def csv(text, name="labels.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return csv


@pytest.fixture
def patients(csv):
    rows = "".join(f"{name},{number % 2 + 1},P{number // 2}\n" for number, name in enumerate(SCANS))
    return csv(f"FileName,TypeOfTB,patient_id\n{rows}", "patients.csv")


@pytest.fixture
def cache(source, patients, tmp_path):
    """Four scans of two patients, alternating between classes A and B."""
    ct(source, tmp_path / "ct.zarr", "--class-names", "A,B", "--labels", patients)
    return tmp_path / "ct.zarr"
