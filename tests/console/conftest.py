"""A folder of three scans, the path of a cache to create from it, and a sheet of labels."""

import pytest

from tests.helpers.scans import write_scan


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for number, name in enumerate(("a.nii", "b.nii.gz", "sub/c.nii")):
        write_scan(folder / name, number)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "ct.zarr"


@pytest.fixture
def labels(tmp_path):
    def labels(*rows, header="FileName,TypeOfTB"):
        path = tmp_path / "labels.csv"
        path.write_text("\n".join((header, *rows, "")))
        return path

    return labels
