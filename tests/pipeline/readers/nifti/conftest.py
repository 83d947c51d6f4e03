"""Fixtures for NIfTI files."""

import pytest


@pytest.fixture
def write(tmp_path):
    def write(raw, name="scan.nii"):
        path = tmp_path / name
        path.write_bytes(raw)
        return (path,)

    return write
