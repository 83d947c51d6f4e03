"""Damage anywhere in a NIfTI file is detected without large allocations or endless waiting."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.errors import InvalidInput
from tests.helpers.nifti_files import DATA, ROOT, dims, nifti, read, refusal, voxels


def flipped_bit(raw, position):
    damaged = bytearray(raw)
    damaged[position] ^= 1 << position % 8
    return bytes(damaged)


def test_a_gzip_file_cut_anywhere_is_rejected(write):
    raw = gzip.compress(nifti(voxels(shape=(30, 31, 32))))
    for percent in range(0, 100, 5):
        refusal(write(raw[: len(raw) * percent // 100], "scan.nii.gz"))


def test_a_file_with_a_flipped_bit_is_rejected_or_gives_the_same_voxels(write):
    raw = gzip.compress(nifti())
    _, expected, _ = read(write(raw, "scan.nii.gz"))
    harmless = 0
    for position in [*range(20), *np.linspace(20, len(raw) - 1, 80).astype(int).tolist()]:
        paths = write(flipped_bit(raw, position), "scan.nii.gz")
        try:
            _, array, _ = read(paths)
        except InvalidInput:
            continue
        np.testing.assert_array_equal(array, expected)
        harmless += 1
    assert harmless < 20  # only the time, flags and system in the gzip header


def test_a_header_with_random_bytes_is_read_as_by_nibabel_or_rejected(write):
    generator = np.random.default_rng(1)
    accepted = 0
    for _ in range(400):
        raw = bytearray(nifti())
        for position in generator.integers(0, 348, 3):
            raw[position] = generator.integers(256)
        try:
            scan, array, _ = read(write(bytes(raw)))
        except InvalidInput:
            continue
        accepted += 1
        image = nib.Nifti1Image.from_bytes(bytes(raw))
        np.testing.assert_array_equal(scan.affine, image.affine)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(array * scan.slope + scan.inter, image.get_fdata().reshape(scan.shape))
    assert accepted > 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_header_with_a_huge_shape_is_rejected_before_any_allocation(write):
    paths = write(gzip.compress(dims(4000, 4000, 4000)) + bytes(1 << 20), "scan.nii.gz")
    program = (
        "import sys; from pathlib import Path; from pipeline.readers.nifti import open_scan\n"
        "def peak():\n    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])  # kB\n"
        "before = peak()\n"
        "try:\n    open_scan((Path(sys.argv[1]),)).__enter__()\n"
        "except ValueError as error:\n    print('claims' in str(error), peak() - before)\n"
    )
    command = [sys.executable, "-c", program, str(paths[0])]
    rejected, kilobytes = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=250, cwd=ROOT
    ).stdout.split()
    assert rejected == "True"
    assert int(kilobytes) < 20_000


@pytest.mark.parametrize("name", ["folder.nii.gz", "pipe.nii.gz"])
def test_a_folder_or_pipe_is_rejected_without_waiting(tmp_path, name):
    path = tmp_path / name
    (Path.mkdir if name.startswith("folder") else os.mkfifo)(path)
    assert refusal((path,)).problem == "not a regular file"


def test_a_vanished_file_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read((tmp_path / "gone.nii",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_raises_permission_error(write):
    paths = write(nifti())
    paths[0].chmod(0)
    with pytest.raises(PermissionError):
        read(paths)


@pytest.mark.skipif(not DATA.exists(), reason="real scans are missing (../shared/data)")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("3DCT_lung_small_plain_named.nii.gz", "plain data named .gz"),
        ("3DCT_lung_small_truncated.nii", "claims 569440 bytes"),
        ("example_ct_sm_truncated.nii.gz", "damaged gzip"),
    ],
)
def test_real_damaged_scans_are_rejected(name, reason):
    assert reason in refusal((DATA / "damaged" / name,)).problem
